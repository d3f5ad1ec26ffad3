package reference

// #include <stdint.h>
// #include <stdlib.h>
//
// extern int gb_reference_run(void *handle);
import "C"

import (
	"runtime/cgo"
	"unsafe"

	"genbench/hardware/native"
)

// A callback lets the timed loop, which is C, run a Go function. The way from C
// into Go costs well under a microsecond, which a plain Go network dwarfs.
type callback struct{ handle *C.uintptr_t }

// newCallback holds run until free.
func newCallback(run func()) *callback {
	c := &callback{handle: (*C.uintptr_t)(C.malloc(C.size_t(unsafe.Sizeof(C.uintptr_t(0)))))}
	*c.handle = C.uintptr_t(cgo.NewHandle(run))
	return c
}

func (c *callback) native() native.Call {
	return native.Call{Func: unsafe.Pointer(C.gb_reference_run), Arg: unsafe.Pointer(c.handle)}
}

func (c *callback) free() {
	cgo.Handle(*c.handle).Delete()
	C.free(unsafe.Pointer(c.handle))
}

//export gb_reference_run
func gb_reference_run(handle unsafe.Pointer) C.int {
	cgo.Handle(*(*C.uintptr_t)(handle)).Value().(func())()
	return 0
}
