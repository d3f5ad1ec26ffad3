package native

// #include <stdlib.h>
// #include "pieces.h"
import "C"

import "unsafe"

// TimePieces runs one inference that is made of several calls and gives what each took
// on the device, in nanoseconds. All of it is submitted before any is waited for. lead
// comes first and is not timed: if it keeps the device busy meanwhile, the host's time
// stays out of the pieces'. A call that fails ends it with a *CallError, whose index is
// that of the piece, -1 for lead.
func (s *CUDAStream) TimePieces(lead Call, pieces []Call, out []int64) error {
	if len(pieces) == 0 {
		return nil
	}
	c := unsafe.Slice((*C.gb_call)(C.calloc(C.size_t(len(pieces)), C.size_t(unsafe.Sizeof(C.gb_call{})))), len(pieces))
	defer C.free(unsafe.Pointer(&c[0]))
	for i, p := range pieces {
		c[i] = C.gb_call{C.gb_func(p.Func), p.Arg}
	}
	out = out[:len(pieces)]
	first := C.gb_call{C.gb_func(lead.Func), lead.Arg}
	return s.judge(C.gb_time_cuda_pieces(s.c, first, &c[0], C.int64_t(len(pieces)), (*C.int64_t)(unsafe.Pointer(&out[0]))))
}
