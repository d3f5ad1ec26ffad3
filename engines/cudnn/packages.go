package cudnn

import (
	"fmt"

	"genbench/hardware/native"
)

// A pack is one of NVIDIA's wheels of cuDNN on PyPI.
type pack struct {
	name, version string
	// What it runs on: the oldest driver, as cuDriverGetVersion counts, and the
	// compute capabilities, ten times the major number and the minor.
	driver      int
	least, most int
}

// packs lists the wheels by preference. What each has code for was read from the
// fat binaries in its libcudnn_ops on 2026-11-23:
//
//	                     sm_70  sm_75  sm_80  sm_86  sm_90  sm_100 sm_120  CUDA of the driver
//	9.28.1.4  for CUDA 13  -      x      x      x      x      x      x     13.0
//	9.28.0.42 for CUDA 12  -      x      x      x      x      x      x     12.0
//	9.10.2.21 for CUDA 12  x      x      x      x      x      x      x     12.0
//	8.9.7.29  for CUDA 12  x      x      x      x      x      -      -     12.0
//
// (sm_86 and sm_89 run the code of sm_80.) Volta went with 9.11, and with CUDA 13,
// whose release notes name Maxwell, Pascal and Volta as removed. Drivers follow
// NVIDIA's cuDNN support matrix: 525.60.13 for CUDA 12, 450.80.02 for CUDA 11;
// within a major version a package runs on every driver of it (CUDA Compatibility,
// minor version compatibility). 9.10.2.21 is the last for CUDA 11.
func packs() []pack {
	return []pack{
		{name: "nvidia-cudnn-cu13", version: "9.28.1.4", driver: 13000, least: 75, most: 129},
		{name: "nvidia-cudnn-cu12", version: "9.28.0.42", driver: 12000, least: 75, most: 129},
		{name: "nvidia-cudnn-cu12", version: "9.10.2.21", driver: 12000, least: 70, most: 129},
		{name: "nvidia-cudnn-cu11", version: "9.10.2.21", driver: 11080, least: 70, most: 90},
	}
}

func capability(gpu native.CUDADeviceInfo) int { return 10*gpu.CapabilityMajor + gpu.CapabilityMinor }

// hint is the command that fetches the newest cuDNN that fits a GPU and its driver.
func hint(gpu native.CUDADeviceInfo) string {
	own := fmt.Sprintf("set %s to the path of libcudnn.so.9", Env)
	for _, p := range packs() {
		if gpu.DriverVersionNumber >= p.driver && capability(gpu) >= p.least && capability(gpu) <= p.most {
			return fmt.Sprintf("run `pip install %s==%s`, the newest for %s (compute capability %d.%d) under a driver of CUDA %s, or %s",
				p.name, p.version, gpu.Name, gpu.CapabilityMajor, gpu.CapabilityMinor, gpu.DriverVersion, own)
		}
	}
	return fmt.Sprintf("no package of cuDNN is known for %s (compute capability %d.%d) under a driver of CUDA %s: update the driver, or %s",
		gpu.Name, gpu.CapabilityMajor, gpu.CapabilityMinor, gpu.DriverVersion, own)
}
