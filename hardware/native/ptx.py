"""Compiles CUDA C to PTX with NVRTC: ptx.py LIBNVRTC SOURCE.cu > RESULT.ptx

The release of NVRTC sets the PTX version, and a driver takes none that is newer
than itself; `make ptx` gives the oldest that genbench supports, CUDA 11.8.
"""
import ctypes
import pathlib
import sys

library, source = sys.argv[1], pathlib.Path(sys.argv[2])
nvrtc = ctypes.CDLL(library)
program = ctypes.c_void_p()


def call(name, *args):
    if code := getattr(nvrtc, name)(*args):
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        sys.exit(f"{source}: {name} gives {code}: {log.value.decode()}")


headers = [h for h in sorted(source.parent.glob("*.h")) if f'"{h.name}"' in source.read_text()]
texts = (ctypes.c_char_p * len(headers))(*(h.read_bytes() for h in headers))
names = (ctypes.c_char_p * len(headers))(*(h.name.encode() for h in headers))
call("nvrtcCreateProgram", ctypes.byref(program), source.read_bytes(), source.name.encode(), len(headers), texts, names)
options = [b"--gpu-architecture=compute_70", b"--std=c++14"]
call("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*options))
size = ctypes.c_size_t()
call("nvrtcGetPTXSize", program, ctypes.byref(size))
text = ctypes.create_string_buffer(size.value)
call("nvrtcGetPTX", program, text)
sys.stdout.write(text.value.decode())
