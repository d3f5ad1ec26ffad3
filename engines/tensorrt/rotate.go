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
)

// A rotation is a session's copies of its inputs.
type rotation struct {
	names   []*C.char
	rotated *C.gb_trt_rotated // one for each copy
	moved   *C.gb_trt_moved   // of all of them
	memory  []uint64
	bytes   int64 // of that
}

// Rotate implements engines.Rotator.
func (s *session) Rotate(bytes int64) ([]native.Call, error) {
	if s.c == nil {
		return nil, errors.New("rotate inputs: the session is closed")
	}
	r := &s.rotation
	if r.rotated != nil {
		return nil, errors.New("rotate inputs: they are rotated already")
	}
	var size int64
	values := make([][]byte, len(s.inputs))
	for i, p := range s.inputs {
		values[i] = make([]byte, p.bytes())
		if err := s.stream.CopyOut(values[i], p.data); err != nil {
			return nil, fmt.Errorf("rotate inputs: copy %s: %w", p.name, err)
		}
		size += int64(p.bytes())
		r.names = append(r.names, C.CString(p.name))
	}
	n, inputs := engines.Copies(size, bytes), len(s.inputs)
	r.rotated = (*C.gb_trt_rotated)(C.calloc(C.size_t(n), C.size_t(unsafe.Sizeof(C.gb_trt_rotated{}))))
	r.moved = (*C.gb_trt_moved)(C.calloc(C.size_t(max(n*inputs, 1)), C.size_t(unsafe.Sizeof(C.gb_trt_moved{}))))
	calls := make([]native.Call, n)
	for i := range calls {
		moved := unsafe.Slice(r.moved, n*inputs)[i*inputs : (i+1)*inputs]
		for k, p := range s.inputs {
			memory, err := s.away(values[k])
			if err != nil {
				return nil, fmt.Errorf("rotate inputs: copy %d of %d: %w", i+1, n, err)
			}
			moved[k] = C.gb_trt_moved{name: r.names[k], home: C.uint64_t(p.data), away: C.uint64_t(memory)}
		}
		one := &unsafe.Slice(r.rotated, n)[i]
		*one = C.gb_trt_rotated{table: s.e.table, engine: s.c, inputs: unsafe.SliceData(moved), count: C.int(inputs)}
		calls[i] = native.Call{Func: unsafe.Pointer(C.gb_trt_run_rotated), Arg: unsafe.Pointer(one)}
	}
	return calls, nil
}

// away gives memory on the device with a copy of an input's values.
func (s *session) away(values []byte) (uint64, error) {
	memory, err := s.e.device.Alloc(int64(max(len(values), 1)))
	if err != nil {
		return 0, err
	}
	s.rotation.memory = append(s.rotation.memory, memory)
	s.rotation.bytes += int64(len(values))
	return memory, s.stream.CopyIn(memory, values)
}

func (r *rotation) free(device *hardware.CUDADevice) error {
	var errs []error
	for _, memory := range r.memory {
		errs = append(errs, device.Free(memory))
	}
	for _, name := range r.names {
		C.free(unsafe.Pointer(name))
	}
	C.free(unsafe.Pointer(r.rotated))
	C.free(unsafe.Pointer(r.moved))
	*r = rotation{}
	return errors.Join(errs...)
}
