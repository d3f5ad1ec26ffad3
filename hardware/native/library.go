package native

// #define _GNU_SOURCE
// #include <dlfcn.h>
// #include <link.h>
// #include <stdlib.h>
//
// static const char *library_path(void *handle) {
// 	struct link_map *map = NULL;
// 	if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || map == NULL) return NULL;
// 	return map->l_name;
// }
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"
)

// A Library is a vendor library opened at run time. The binary links none, so it
// starts on a box without them.
type Library struct{ handle unsafe.Pointer }

// Open loads a library by soname or path. The error is the loader's own words,
// which name the missing file or dependency.
func Open(name string) (*Library, error) {
	// dlerror is per thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	handle := C.dlopen(cname, C.RTLD_NOW|C.RTLD_LOCAL)
	if handle == nil {
		return nil, errors.New(C.GoString(C.dlerror()))
	}
	return &Library{handle: handle}, nil
}

// Handle is dlopen's, for C that looks symbols up itself.
func (l *Library) Handle() unsafe.Pointer { return l.handle }

// Path is the file the loader took.
func (l *Library) Path() string {
	p := C.library_path(l.handle)
	if p == nil {
		return ""
	}
	return C.GoString(p)
}

// Symbol looks a function up; a missing one is an error that names it.
func (l *Library) Symbol(name string) (unsafe.Pointer, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	p := C.dlsym(l.handle, cname)
	if p == nil {
		return nil, fmt.Errorf("symbol %s: not in %s", name, l.Path())
	}
	return p, nil
}

// Close gives the library back. Vendor libraries that start threads do not
// survive it; close only what was opened to look.
func (l *Library) Close() error {
	if C.dlclose(l.handle) != 0 {
		return fmt.Errorf("close library %s failed", l.Path())
	}
	return nil
}
