package native

// #include <stdlib.h>
//
// // Prototypes of nvml.h (API 13); int stands for nvmlReturn_t.
// typedef int (*by_uuid)(const char *uuid, void **device);
// typedef int (*memory_clocks)(void *device, unsigned int *count, unsigned int *mhz);
// typedef int (*graphics_clocks)(void *device, unsigned int memory_mhz, unsigned int *count, unsigned int *mhz);
//
// static int list_memory(void *find, void *list, const char *uuid, unsigned int *count, unsigned int *mhz) {
// 	void *device;
// 	int code = ((by_uuid)find)(uuid, &device);
// 	return code != 0 ? code : ((memory_clocks)list)(device, count, mhz);
// }
//
// static int list_graphics(void *find, void *list, const char *uuid, unsigned int memory_mhz, unsigned int *count, unsigned int *mhz) {
// 	void *device;
// 	int code = ((by_uuid)find)(uuid, &device);
// 	return code != 0 ? code : ((graphics_clocks)list)(device, memory_mhz, count, mhz);
// }
import "C"

import "unsafe"

// maxClocks is more than any board's list has.
const maxClocks = 2048

// MemoryClocks lists the memory clocks in MHz that the GPU with the UUID can be set
// to, in NVML's order, from an NVML that has been started. go-nvml offers the function
// with room for a single clock, and every board's list is longer. The code is NVML's;
// err says that the function is missing.
func MemoryClocks(nvml *Library, uuid string) (mhz []int, code int, err error) {
	return listClocks(nvml, "nvmlDeviceGetSupportedMemoryClocks", uuid, func(find, list unsafe.Pointer, id *C.char, count, out *C.uint) C.int {
		return C.list_memory(find, list, id, count, out)
	})
}

// GraphicsClocks lists the graphics clocks that go with a memory clock, in the manner
// of MemoryClocks.
func GraphicsClocks(nvml *Library, uuid string, memoryMHz int) (mhz []int, code int, err error) {
	return listClocks(nvml, "nvmlDeviceGetSupportedGraphicsClocks", uuid, func(find, list unsafe.Pointer, id *C.char, count, out *C.uint) C.int {
		return C.list_graphics(find, list, id, C.uint(memoryMHz), count, out)
	})
}

func listClocks(nvml *Library, symbol, uuid string, call func(find, list unsafe.Pointer, id *C.char, count, out *C.uint) C.int) ([]int, int, error) {
	find, err := nvml.Symbol("nvmlDeviceGetHandleByUUID")
	if err != nil {
		return nil, 0, err
	}
	list, err := nvml.Symbol(symbol)
	if err != nil {
		return nil, 0, err
	}
	id := C.CString(uuid)
	defer C.free(unsafe.Pointer(id))
	var out [maxClocks]C.uint
	count := C.uint(maxClocks)
	if code := call(find, list, id, &count, &out[0]); code != 0 {
		return nil, int(code), nil
	}
	mhz := make([]int, min(int(count), maxClocks))
	for i := range mhz {
		mhz[i] = int(out[i])
	}
	return mhz, 0, nil
}
