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
	rotated *C.gb_rotated // one for each copy
	places  *C.gb_place   // of all of them
	packs   []descriptor  // of graphs that read a copy
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
	if err := s.stream.CopyOut(raw, s.input); err != nil {
		return nil, fmt.Errorf("rotate inputs: %w", err)
	}
	home := devicePointer(s.input)
	n, each := engines.Copies(int64(len(raw)), bytes), len(s.readers(home))
	s.rotation.rotated = (*C.gb_rotated)(C.calloc(C.size_t(n), C.size_t(unsafe.Sizeof(C.gb_rotated{}))))
	s.rotation.places = (*C.gb_place)(C.calloc(C.size_t(max(n*each, 1)), C.size_t(unsafe.Sizeof(C.gb_place{}))))
	calls := make([]native.Call, n)
	for i := range calls {
		memory, err := s.alloc(int64(len(raw)))
		if err == nil {
			err = s.stream.CopyIn(memory, raw)
		}
		places := unsafe.Slice(s.rotation.places, n*each)[i*each : (i+1)*each]
		if err == nil {
			err = s.moveTo(home, devicePointer(memory), places)
		}
		if err != nil {
			return nil, fmt.Errorf("rotate inputs: copy %d of %d: %w", i+1, n, err)
		}
		r := &unsafe.Slice(s.rotation.rotated, n)[i]
		*r = C.gb_rotated{program: s.program, places: unsafe.SliceData(places), count: C.int(each)}
		calls[i] = native.Call{Func: unsafe.Pointer(C.gb_run_rotated), Arg: unsafe.Pointer(r)}
	}
	return calls, nil
}

// moveTo fills in what each reader of the input at home gets instead for one that lies
// elsewhere. A graph's pack cannot be changed, so each copy has its own.
func (s *session) moveTo(home, away unsafe.Pointer, places []C.gb_place) error {
	for i, reader := range s.readers(home) {
		place := &places[i]
		*place = C.gb_place{at: reader.at, home: *reader.at, away: away}
		if reader.step == nil {
			continue
		}
		moved := *reader.step
		for _, operand := range []*unsafe.Pointer{&moved.x_data, &moved.z_data} {
			if *operand == home {
				*operand = away
			}
		}
		pack, err := s.pack(&moved)
		if err != nil {
			return err
		}
		s.rotation.packs = append(s.rotation.packs, pack)
		place.away = unsafe.Pointer(pack)
	}
	return nil
}

// A reader is a pointer of a step, in C memory, by which it reads an address: the
// address itself, or the pack of the step's graph.
type reader struct {
	at   *unsafe.Pointer
	step *C.gb_step // of a pack
}

func (s *session) readers(address unsafe.Pointer) []reader {
	var found []reader
	for i := range s.steps() {
		step := &s.steps()[i]
		if step.kind == C.gb_graph {
			if step.x_data == address || step.z_data == address {
				found = append(found, reader{(*unsafe.Pointer)(unsafe.Pointer(&step.pack)), step})
			}
			continue
		}
		for _, at := range []*unsafe.Pointer{&step.x_data, &step.z_data, &step.kernel.x, &step.kernel.z} {
			if *at == address {
				found = append(found, reader{at, nil})
			}
		}
	}
	return found
}

// free ends the rotation of a session whose program is still there.
func (r *rotation) free(p *C.gb_program) error {
	var errs []error
	for _, pack := range r.packs {
		if status := C.gb_backend_destroy(p, pack); status != 0 {
			errs = append(errs, fmt.Errorf("cudnnBackendDestroyDescriptor: status %d", uint(status)))
		}
	}
	C.free(unsafe.Pointer(r.places))
	C.free(unsafe.Pointer(r.rotated))
	*r = rotation{}
	return errors.Join(errs...)
}
