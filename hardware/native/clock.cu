// Kernels of the CUDA device. clock.ptx is this file as NVRTC 11.8 compiles it
// (`make ptx`), so that every driver from CUDA 11.8 on can compile it further.

__device__ static unsigned long long global_time() {
	unsigned long long ns;
	asm volatile("mov.u64 %0, %globaltimer;" : "=l"(ns));
	return ns;
}

// gb_delay takes the time it is told to, by the device's own timer.
extern "C" __global__ void gb_delay(unsigned long long ns) {
	unsigned long long start = global_time();
	while (global_time() - start < ns) {
	}
}

// gb_hold takes until gate[0] is set, so that all that is submitted behind it waits,
// or until the time it is told has passed, which it notes in gate[1].
extern "C" __global__ void gb_hold(volatile unsigned *gate, unsigned long long ns) {
	unsigned long long start = global_time();
	while (gate[0] == 0) {
		if (global_time() - start >= ns) {
			gate[1] = 1;
			return;
		}
	}
}

// gb_ticks has every block note its multiprocessor, the global time in nanoseconds
// and the multiprocessor's cycle counter. The timer moves in steps of up to a
// microsecond on some GPUs, so the counter is read right behind a step.
extern "C" __global__ void gb_ticks(unsigned long long *out) {
	unsigned multiprocessor;
	asm volatile("mov.u32 %0, %smid;" : "=r"(multiprocessor));
	unsigned long long before = global_time(), ns = before;
	while (ns == before) ns = global_time();
	unsigned long long cycles = (unsigned long long)clock64();
	out[3 * blockIdx.x] = multiprocessor;
	out[3 * blockIdx.x + 1] = ns;
	out[3 * blockIdx.x + 2] = cycles;
}
