package tensorrt

// #include <stdlib.h>
// #include "rotate.h"
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A rotation is a session's copies of its input.
type rotation struct {
	name    *C.char
	rotated *C.gb_trt_rotated // one for each copy
	memory  []uint64
}

// Rotate implements engines.Rotator.
func (s *session) Rotate(bytes int64) ([]native.Call, error) {
	if s.c == nil {
		return nil, errors.New("rotate inputs: the session is closed")
	}
	if s.rotation.rotated != nil {
		return nil, errors.New("rotate inputs: they are rotated already")
	}
	raw := make([]byte, s.input.shape.Elements()*s.input.kind.size())
	if err := s.stream.CopyOut(raw, s.input.data); err != nil {
		return nil, fmt.Errorf("rotate inputs: %w", err)
	}
	n := engines.Copies(int64(len(raw)), bytes)
	s.rotation.name = C.CString(models.InputName)
	s.rotation.rotated = (*C.gb_trt_rotated)(C.calloc(C.size_t(n), C.size_t(unsafe.Sizeof(C.gb_trt_rotated{}))))
	calls := make([]native.Call, n)
	for i := range calls {
		memory, err := s.e.device.Alloc(int64(len(raw)))
		if err == nil {
			s.rotation.memory = append(s.rotation.memory, memory)
			err = s.stream.CopyIn(memory, raw)
		}
		if err != nil {
			return nil, fmt.Errorf("rotate inputs: copy %d of %d: %w", i+1, n, err)
		}
		r := &unsafe.Slice(s.rotation.rotated, n)[i]
		*r = C.gb_trt_rotated{
			table: s.e.table, engine: s.c, name: s.rotation.name,
			home: C.uint64_t(s.input.data), input: C.uint64_t(memory),
		}
		calls[i] = native.Call{Func: unsafe.Pointer(C.gb_trt_run_rotated), Arg: unsafe.Pointer(r)}
	}
	return calls, nil
}

func (r *rotation) free(device *hardware.CUDADevice) error {
	var errs []error
	for _, memory := range r.memory {
		errs = append(errs, device.Free(memory))
	}
	C.free(unsafe.Pointer(r.name))
	C.free(unsafe.Pointer(r.rotated))
	*r = rotation{}
	return errors.Join(errs...)
}
