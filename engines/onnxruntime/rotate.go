package onnxruntime

// #include <stdlib.h>
// #include "rotate.h"
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"genbench/engines"
	"genbench/hardware/native"
)

// A rotation is a GPU session's copies of its inputs.
type rotation struct {
	rotated *C.gb_ort_rotated // one for each copy
	values  **C.OrtValue      // of all of them
	count   int
	memory  []uint64
}

// Rotate implements engines.Rotator for a session on a GPU; one on the host refuses.
func (s *session) Rotate(bytes int64) ([]native.Call, error) {
	switch {
	case s.c == nil:
		return nil, errors.New("rotate inputs: the session is closed")
	case s.stream == nil:
		return nil, errors.New("rotate inputs: those of a session on the host are never rotated")
	case s.rotation.rotated != nil:
		return nil, errors.New("rotate inputs: they are rotated already")
	}
	var size int64
	inputs := s.order.inputs
	for _, p := range inputs {
		size += int64(p.bytes())
	}
	n := engines.Copies(size, bytes)
	r := &s.rotation
	r.rotated = (*C.gb_ort_rotated)(C.calloc(C.size_t(n), C.size_t(unsafe.Sizeof(C.gb_ort_rotated{}))))
	r.values = (**C.OrtValue)(C.calloc(C.size_t(max(n*len(inputs), 1)), C.size_t(unsafe.Sizeof(uintptr(0)))))
	r.count = n
	calls := make([]native.Call, n)
	for i := range calls {
		one := &unsafe.Slice(r.rotated, n)[i]
		one.inputs = (**C.OrtValue)(unsafe.Add(unsafe.Pointer(r.values), uintptr(i*len(inputs))*unsafe.Sizeof(uintptr(0))))
		if err := s.copyInputs(one); err != nil {
			return nil, fmt.Errorf("rotate inputs: copy %d of %d: %w", i+1, n, err)
		}
		calls[i] = native.Call{Func: unsafe.Pointer(C.gb_ort_submit_rotated), Arg: unsafe.Pointer(one)}
	}
	return calls, nil
}

// copyInputs gives a rotated session memory of its own with what the inputs hold.
func (s *session) copyInputs(r *C.gb_ort_rotated) error {
	addresses := make([]C.uint64_t, len(s.order.inputs)+1) // one too many, for a model without inputs
	for i, p := range s.order.inputs {
		memory, err := s.stream.Device().Alloc(int64(max(p.bytes(), 1)))
		if err != nil {
			return err
		}
		s.rotation.memory = append(s.rotation.memory, memory)
		if err := s.stream.CopyIn(memory, p.data); err != nil { // which holds what was set last
			return err
		}
		addresses[i] = C.uint64_t(memory)
	}
	return takeMessage(C.gb_ort_rotate(r, s.c, &addresses[0]))
}

// free gives back what the copies hold, while their session still is.
func (r *rotation) free(s *session) error {
	for i := range unsafe.Slice(r.rotated, r.count) {
		C.gb_ort_forget_rotated(&unsafe.Slice(r.rotated, r.count)[i])
	}
	C.free(unsafe.Pointer(r.rotated))
	C.free(unsafe.Pointer(r.values))
	var errs []error
	for _, memory := range r.memory {
		errs = append(errs, s.stream.Device().Free(memory))
	}
	*r = rotation{}
	return errors.Join(errs...)
}
