package cudnn

// #include <stdlib.h>
// #include "rotate.h"
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"genbench/engines"
	"genbench/hardware/native"
	"genbench/models"
)

// A rotation is a session's copies of its input; their memory is the session's.
type rotation struct {
	places  **unsafe.Pointer // addresses of the steps' pointers to the input
	rotated *C.gb_rotated    // one for each copy
}

// Rotate implements engines.Rotator.
func (s *session) Rotate(bytes int64) ([]native.Call, error) {
	if s.program == nil {
		return nil, errors.New("rotate inputs: the session is closed")
	}
	if s.rotation.rotated != nil {
		return nil, errors.New("rotate inputs: they are rotated already")
	}
	image := s.plan.at(models.Image)
	raw := make([]byte, image.shape.Elements()*s.elementBytes())
	home := s.values + uint64(image.offset)
	if err := s.stream.CopyOut(raw, home); err != nil {
		return nil, fmt.Errorf("rotate inputs: %w", err)
	}
	places := s.readers(devicePointer(home))
	const word = C.size_t(unsafe.Sizeof(uintptr(0)))
	s.rotation.places = (**unsafe.Pointer)(C.calloc(C.size_t(len(places)), word))
	copy(unsafe.Slice(s.rotation.places, len(places)), places)

	n := engines.Copies(int64(len(raw)), bytes)
	s.rotation.rotated = (*C.gb_rotated)(C.calloc(C.size_t(n), C.size_t(unsafe.Sizeof(C.gb_rotated{}))))
	calls := make([]native.Call, n)
	for i := range calls {
		memory, err := s.alloc(int64(len(raw)))
		if err == nil {
			err = s.stream.CopyIn(memory, raw)
		}
		if err != nil {
			return nil, fmt.Errorf("rotate inputs: copy %d of %d: %w", i+1, n, err)
		}
		r := &unsafe.Slice(s.rotation.rotated, n)[i]
		r.program, r.places, r.count = s.program, (**unsafe.Pointer)(unsafe.Pointer(s.rotation.places)), C.int(len(places))
		r.home, r.input = devicePointer(home), devicePointer(memory)
		calls[i] = native.Call{Func: unsafe.Pointer(C.gb_run_rotated), Arg: unsafe.Pointer(r)}
	}
	return calls, nil
}

// readers are the places, in C memory, where steps have an address that they read.
func (s *session) readers(address unsafe.Pointer) []*unsafe.Pointer {
	var found []*unsafe.Pointer
	for i := range s.steps() {
		step := &s.steps()[i]
		for _, place := range []*unsafe.Pointer{&step.x_data, &step.z_data, &step.kernel.x, &step.kernel.z} {
			if *place == address {
				found = append(found, place)
			}
		}
	}
	return found
}

func (r *rotation) free() {
	C.free(unsafe.Pointer(r.places))
	C.free(unsafe.Pointer(r.rotated))
	*r = rotation{}
}
