package cudnn

import (
	"fmt"

	"genbench/engines/library"
	"genbench/hardware/native"
)

// firstWithoutVolta is the release that dropped compute capability 7.0: the fat
// binaries of 9.10 hold it, those of 9.11 do not; see library.SetupCUDNN.
const firstWithoutVolta = 91100

// hint is the command that fetches the newest cuDNN that fits a GPU and its driver.
func hint(gpu native.CUDADeviceInfo) string {
	own := fmt.Sprintf("set %s to the path of libcudnn.so.9", Env)
	name, err := library.ChosenCUDNN(library.GPUOf(gpu))
	if err != nil {
		return fmt.Sprintf("update the driver, because %v; or %s", err, own)
	}
	return fmt.Sprintf("run `genbench setup cudnn`, which takes %s, the newest for %s (%s), or %s", name, gpu.Name, library.GPUOf(gpu), own)
}
