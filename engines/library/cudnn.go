package library

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// CUDNNEnv names the environment variable that holds the path of libcudnn.so.
const CUDNNEnv = "GENBENCH_CUDNN"

// SetupCUDNN fetches cuDNN and what it opens at run time, cuBLAS and NVRTC, into one
// folder of genbench's cache directory: the newest pinned release that the GPU and its
// driver run. It works like SetupONNXRuntime, and logs what it chose and why.
func SetupCUDNN(ctx context.Context, log io.Writer, gpu GPU) (string, error) {
	chosen, passed, err := choose(cudnnReleases(), gpu)
	if err != nil {
		return "", fmt.Errorf("set up cudnn: %w", err)
	}
	var with []string
	megabytes := chosen.megabytes
	for _, r := range chosen.with {
		with = append(with, r.name+" "+r.version)
		megabytes += r.megabytes
	}
	fmt.Fprintf(log, "%s %s for %s: %s\n", chosen.name, chosen.version, gpu.Name, gpu)
	tellPassed(log, passed)
	fmt.Fprintf(log, "with %s: %d MB to download in all\n", strings.Join(with, " and "), megabytes)
	path, err := setup(ctx, log, "cudnn", CUDNNEnv, []release{chosen.release})
	if err != nil {
		return "", fmt.Errorf("set up cudnn: %w", err)
	}
	return path, nil
}

// ChosenCUDNN names the package that SetupCUDNN would fetch for a GPU.
func ChosenCUDNN(gpu GPU) (string, error) {
	chosen, _, err := choose(cudnnReleases(), gpu)
	return chosen.name + " " + chosen.version, err
}

// CUDNNCompanions are what a cuDNN for a major version of CUDA opens by name when it
// needs it: cuBLAS, first the half that the other is linked with, and NVRTC, which kept
// the name of 11.2 until CUDA 12.
func CUDNNCompanions(cuda int) []string {
	if cuda == 11 {
		return []string{"libcublasLt.so.11", "libcublas.so.11", "libnvrtc.so.11.2"}
	}
	names := make([]string, 0, 3)
	for _, stem := range []string{"libcublasLt", "libcublas", "libnvrtc"} {
		names = append(names, fmt.Sprintf("%s.so.%d", stem, cuda))
	}
	return names
}

// cudnnReleases lists what setup may fetch, preferred first. What a release has code
// for was read from the fat binaries in its libcudnn_ops on 2026-11-23:
//
//	                     sm_70  sm_75  sm_80  sm_86  sm_90  sm_100 sm_120  CUDA of the driver
//	9.28.1.4  for CUDA 13  -      x      x      x      x      x      x     13.0
//	9.28.0.42 for CUDA 12  -      x      x      x      x      x      x     12.0
//	9.10.2.21 for CUDA 12  x      x      x      x      x      x      x     12.0
//	9.10.2.21 for CUDA 11  x      x      x      x      x      -      -     11.8
//	8.9.7.29  for CUDA 12  x      x      x      x      x      -      -     12.0
//
// (sm_86 and sm_89 run the code of sm_80, and sm_75 in the package for CUDA 11 that of
// sm_70.) 9.11 dropped Volta, and so did CUDA 13, whose release notes name Maxwell,
// Pascal and Volta as removed. Drivers follow NVIDIA's cuDNN support matrix: 525.60.13
// for CUDA 12, 450.80.02 for CUDA 11; within a major version a package runs on every
// driver of it (CUDA Compatibility, minor version compatibility), and genbench's
// kernels need 11.8. 9.10.2.21 is the last for CUDA 11.
//
// The packages' metadata asks for cuBLAS, and that of cuBLAS for NVRTC from CUDA 12 on.
// libcudnn_adv, libcudnn_engines_precompiled and libcudnn_graph open libcublasLt and
// libnvrtc by name, beside themselves first (their RUNPATH), so all of it shares one
// folder. Nothing is linked with nvJitLink. The digests are those that each wheel on
// PyPI states for its files (RECORD) on the same day; an installation confirmed those
// for CUDA 13.
func cudnnReleases() []gpuRelease {
	nvrtc13 := release{
		name: "nvidia-cuda-nvrtc", version: "13.5.37", arch: "amd64", platform: "manylinux2010", megabytes: 58, channel: pip{},
		file: file{"nvidia/cu13/lib/libnvrtc.so.13", "98a317ff5d2176dee5a04235c6663f8d553d5ed95b3104cbf7fb198cbf76a10d"},
		beside: []file{
			{"nvidia/cu13/lib/libnvrtc-builtins.so.13.5", "6cecb2fd3e562bab1cb1c6e192f8f828157683c8febb22a00e178f9faf4e7f6a"},
		},
	}
	cublas13 := release{
		name: "nvidia-cublas", version: "13.10.0.20", arch: "amd64", platform: "manylinux1", megabytes: 444, channel: pip{},
		file: file{"nvidia/cu13/lib/libcublasLt.so.13", "b58e18ab4a6adc9bf4833d5cfe28db688e675fd6021db7eaf5da78d23f95d2de"},
		beside: []file{
			{"nvidia/cu13/lib/libcublas.so.13", "863f349b5352363c66079090d43d9d56ad3d676373ecac18418fd4fb2d0579d1"},
		},
	}
	nvrtc12 := release{
		name: "nvidia-cuda-nvrtc-cu12", version: "12.9.86", arch: "amd64", platform: "manylinux2010", megabytes: 90, channel: pip{},
		file: file{"nvidia/cuda_nvrtc/lib/libnvrtc.so.12", "7c67c6b51ea0e0279634cebd676ff7efda1674806444520c84430ad5c35fe625"},
		beside: []file{
			{"nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.9", "6507cf33450cfb22970c2c1e7aa8e7c0a33e39d864720277b05f61a92791e2e8"},
		},
	}
	cublas12 := release{
		name: "nvidia-cublas-cu12", version: "12.9.3.13", arch: "amd64", platform: "manylinux_2_27", megabytes: 581, channel: pip{},
		file: file{"nvidia/cublas/lib/libcublasLt.so.12", "fbbf5c66fcc42c4eb6e56a7cb40be3936edbf0d08e757761e95c84afb9606cb6"},
		beside: []file{
			{"nvidia/cublas/lib/libcublas.so.12", "9b6997d8ac06badb59b90fd08cb89b1f807576306f6b0d762f3e72000b69d260"},
		},
	}
	nvrtc11 := release{
		name: "nvidia-cuda-nvrtc-cu11", version: "11.8.89", arch: "amd64", platform: "manylinux2014", megabytes: 23, channel: pip{},
		file: file{"nvidia/cuda_nvrtc/lib/libnvrtc.so.11.2", "6960d05ae43a3e335e2d26f325db48bf7843c22ba4f40540ba7d0090597030c5"},
		beside: []file{
			{"nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.11.8", "2dc4bf687034e89e117ef82fb300291e4833319a2d47722005d40eeafbafdaaf"},
		},
	}
	cublas11 := release{
		name: "nvidia-cublas-cu11", version: "11.11.3.6", arch: "amd64", platform: "manylinux2014", megabytes: 418, channel: pip{},
		file: file{"nvidia/cublas/lib/libcublasLt.so.11", "b6d14a7461b3ec1995427fd179b98b915c9fc81057366ab7bfa4681451b0d308"},
		beside: []file{
			{"nvidia/cublas/lib/libcublas.so.11", "3b81d170cd613cf9ee24d30b483f7b6d8170d6d32a0354fc207d09c943ae3f62"},
		},
	}
	return []gpuRelease{
		{
			release: release{
				name: "nvidia-cudnn-cu13", version: "9.28.1.4", arch: "amd64", platform: "manylinux_2_27", megabytes: 517, channel: pip{},
				file: file{"nvidia/cudnn/lib/libcudnn.so.9", "f756cabeed9b481134769fdbc0c2ae022cf52ac39aab08be26ea990a56da2efc"},
				beside: []file{
					{"nvidia/cudnn/lib/libcudnn_adv.so.9", "d69ed7d8adc4524ddb6cbf5e10211e35f580d14e40924692f0cdf1b78cf23ab2"},
					{"nvidia/cudnn/lib/libcudnn_cnn.so.9", "2512f47e6e33000e12be5b2e59ac71eb8f5805a548561e7637e4413d1b7cdeb7"},
					{"nvidia/cudnn/lib/libcudnn_engines_precompiled.so.9", "51bd1d25591ae2994120aac5c5be172e31b973e0fdeba43a50647949096ee40a"},
					{"nvidia/cudnn/lib/libcudnn_engines_runtime_compiled.so.9", "738655d1b9441a752fde9b9911780635e60fe96113f2b06c1af6d70458ef5174"},
					{"nvidia/cudnn/lib/libcudnn_engines_tensor_ir.so.9", "ff088c803f896fd9a92c0ab861026ff3b7ee5a4222713c3dd8221e1c843e74ec"},
					{"nvidia/cudnn/lib/libcudnn_ext.so.9", "46c273e178b7733ffa5d56bd9719f378a20b94e07d2ccf23c4078e22bced0652"},
					{"nvidia/cudnn/lib/libcudnn_graph.so.9", "06c28f04f028466cf33461a7d645210146015d425a0dae6c7dc7e60c07c4d973"},
					{"nvidia/cudnn/lib/libcudnn_heuristic.so.9", "7738da4dd6fee9597680ff595863743b2bc4bd5b0ec3edb4e8e9d28a2b5e629d"},
					{"nvidia/cudnn/lib/libcudnn_ops.so.9", "e849b0a7353eec5bb5c9f75d841d075d786e205d84f8fd07b092770554674e48"},
				},
				with: []release{nvrtc13, cublas13},
			},
			driver: 13000, least: 75, most: 129,
		},
		{
			release: release{
				name: "nvidia-cudnn-cu12", version: "9.28.0.42", arch: "amd64", platform: "manylinux_2_27", megabytes: 717, channel: pip{},
				file: file{"nvidia/cudnn/lib/libcudnn.so.9", "727cf38cefa39f745dee3caa207395163a86e8fafdb47e3af6d185fdd67858d4"},
				beside: []file{
					{"nvidia/cudnn/lib/libcudnn_adv.so.9", "d7a4f6de7c83eb39506d424cf8f1a6f3715faeee2320f2cc03498c9dcc10283b"},
					{"nvidia/cudnn/lib/libcudnn_cnn.so.9", "5bccc296c64d21ef9326c70ccdcf01b149122dd242ec80a2d3bdc2a4389879ad"},
					{"nvidia/cudnn/lib/libcudnn_engines_precompiled.so.9", "9a9bbe2c9d4be6c324760199f667fa84a2a9a2d66820b8ca55844b9da235e837"},
					{"nvidia/cudnn/lib/libcudnn_engines_runtime_compiled.so.9", "8b49b082768bda0ac9f2465c235331e727682f92139ad41f15276b81f20f0f96"},
					{"nvidia/cudnn/lib/libcudnn_engines_tensor_ir.so.9", "78aa90a0543dd7b097701708f28981657ad04b95d3cac387fed960765404985e"},
					{"nvidia/cudnn/lib/libcudnn_ext.so.9", "7614a9e626eeeacbcfc8aa6633700e3cd4321e18497447825172d2d21f0b0e6f"},
					{"nvidia/cudnn/lib/libcudnn_graph.so.9", "d56ec4d0cc21836e0138e4e75dcf6a1e589687675e9d6da0d006936ef7169078"},
					{"nvidia/cudnn/lib/libcudnn_heuristic.so.9", "ab31bec932bc0b37431dfed946ec4c373441e0d5a62ad477e6cd19fc805e7577"},
					{"nvidia/cudnn/lib/libcudnn_ops.so.9", "fbc82ffd752ec10601b2001226dee311b7ddd034c93a30c3536f2bbd19361b0c"},
				},
				with: []release{nvrtc12, cublas12},
			},
			driver: 12000, least: 75, most: 129,
		},
		{
			release: release{
				name: "nvidia-cudnn-cu12", version: "9.10.2.21", arch: "amd64", platform: "manylinux_2_27", megabytes: 707, channel: pip{},
				file: file{"nvidia/cudnn/lib/libcudnn.so.9", "3b68ea689be647bce63cb3c2d9edb589add415405a7e9f296d69ca029cae0b8b"},
				beside: []file{
					{"nvidia/cudnn/lib/libcudnn_adv.so.9", "9814d64e04fce1f6cbd16d02ccefd6611541b3c61736fb450e334b482635ca07"},
					{"nvidia/cudnn/lib/libcudnn_cnn.so.9", "655c2d2649466c73b6b4c19705fb6906fd95e331a1f8218314b49f37dd7cafed"},
					{"nvidia/cudnn/lib/libcudnn_engines_precompiled.so.9", "f504745d346542609f975de51227080647d3675eac576ead82c396b8124f8f28"},
					{"nvidia/cudnn/lib/libcudnn_engines_runtime_compiled.so.9", "8222672743c4f2e39feb1c365d6f6b6c40f56023471506f49944910847f1ee0a"},
					{"nvidia/cudnn/lib/libcudnn_graph.so.9", "787c955dce49091ead850e4536666594095ea9f92a8a08879d8ddad466674657"},
					{"nvidia/cudnn/lib/libcudnn_heuristic.so.9", "2804eee5f6fc11d0299ba07687eda0a974d3b2436357c639706c4e282cc2cc05"},
					{"nvidia/cudnn/lib/libcudnn_ops.so.9", "34f56d67f3df108949d1e5e03543064e055e217d0f5e53dc6d4f7c9454d852f8"},
				},
				with: []release{nvrtc12, cublas12},
			},
			driver: 12000, least: 70, most: 129,
		},
		{
			release: release{
				name: "nvidia-cudnn-cu11", version: "9.10.2.21", arch: "amd64", platform: "manylinux_2_27", megabytes: 397, channel: pip{},
				file: file{"nvidia/cudnn/lib/libcudnn.so.9", "3b68ea689be647bce63cb3c2d9edb589add415405a7e9f296d69ca029cae0b8b"},
				beside: []file{
					{"nvidia/cudnn/lib/libcudnn_adv.so.9", "6d0ca47ef371f7583d3ca4e60071cccc408e3f17e4afa69660d5850d5bc4f405"},
					{"nvidia/cudnn/lib/libcudnn_cnn.so.9", "c49682d40259b2ba439a70cdeb00bd518332540982c94baf403760e91f684fe5"},
					{"nvidia/cudnn/lib/libcudnn_engines_precompiled.so.9", "7699c1dfe781677ec7ffae154e8d372ee139509ebed1d43936e7625f8e54b7e9"},
					{"nvidia/cudnn/lib/libcudnn_engines_runtime_compiled.so.9", "d228b91d51b4333ea3196327607d66fcc7b92b92840e97fa4615baa08cb5b472"},
					{"nvidia/cudnn/lib/libcudnn_graph.so.9", "a5f8850e3e8e33e18aa20f93d0f13a1a9f43d07660b38f1702862f3ef95c3b82"},
					{"nvidia/cudnn/lib/libcudnn_heuristic.so.9", "04a081ff0053174d8b73e1e8591df99c0c22b152fa02e1b429fcefa73cbdd120"},
					{"nvidia/cudnn/lib/libcudnn_ops.so.9", "2a5a05f191cfc368db5766954d5d3c2e8140fd88a9a9b5585f59dd29d8d1704a"},
				},
				with: []release{nvrtc11, cublas11},
			},
			driver: 11080, least: 70, most: 90,
		},
	}
}
