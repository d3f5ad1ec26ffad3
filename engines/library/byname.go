package library

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"genbench/hardware/native"
)

// architecture is in the name of a library for one; sm75 and sm120 are of 7.5 and 12.0.
var architecture = regexp.MustCompile(`_sm(\d+)\d`)

// PreloadTensorRTBuilder opens the libraries of kernels that lie beside libnvinfer and
// leaves them open. A builder opens them by their bare names, so it finds them only
// where the loader looks: libnvinfer has no RUNPATH since 8.4 (NVIDIA/TensorRT issue
// 2218). There is one for all GPUs, or one for every architecture; of those the ones of
// the GPU's major capability are opened. If one does not open, the builder will say so.
func PreloadTensorRTBuilder(infer string, capabilityMajor int) {
	for _, file := range glob(filepath.Dir(infer), "libnvinfer_builder_resource*.so*") {
		m := architecture.FindStringSubmatch(filepath.Base(file))
		if m == nil || m[1] == strconv.Itoa(capabilityMajor) {
			openByName(file)
		}
	}
}

// openByName opens a file so that the loader knows it by its bare name, too. Opening it
// by its path is enough only where its SONAME is that name, and those of TensorRT's
// builder are "do_not_link_against_...". The loader notes the name by which another
// library needs one, so a library is made that needs nothing else.
func openByName(file string) error {
	stub, err := os.CreateTemp("", "genbench-*.so")
	if err != nil {
		return err
	}
	defer os.Remove(stub.Name())
	_, err = stub.Write(needing(filepath.Dir(file), filepath.Base(file)))
	if closing := stub.Close(); err == nil {
		err = closing
	}
	if err == nil {
		_, err = native.Open(stub.Name()) // for good
	}
	return err
}

// needing is a shared library without code that needs another one and finds it in a
// folder (DT_NEEDED, DT_RUNPATH).
func needing(dir, name string) []byte {
	const headers, symbols = 64 + 3*56, 24 // an ELF header and three of segments; the empty symbol
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	// In a RUNPATH a colon separates folders and a dollar sign begins a variable: such
	// a folder is not found.
	words := strings.Join([]string{"", name, dir, ""}, "\x00")
	dynamic := []elf.Dyn64{
		{Tag: int64(elf.DT_NEEDED), Val: 1},
		{Tag: int64(elf.DT_RUNPATH), Val: uint64(2 + len(name))},
		{Tag: int64(elf.DT_SYMTAB), Val: headers},
		{Tag: int64(elf.DT_SYMENT), Val: symbols},
		{Tag: int64(elf.DT_STRTAB), Val: 0},
		{Tag: int64(elf.DT_STRSZ), Val: uint64(len(words))},
		{Tag: int64(elf.DT_NULL)},
	}
	at, size := uint64(headers+symbols), uint64(binary.Size(dynamic))
	dynamic[4].Val = at + size
	all := at + size + uint64(len(words))
	var out bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident:   [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:    uint16(elf.ET_DYN),
			Machine: uint16(machine),
			Version: uint32(elf.EV_CURRENT),
			Phoff:   64, Ehsize: 64, Phentsize: 56, Phnum: 3,
		},
		// The loader writes to the dynamic section.
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Filesz: all, Memsz: all, Align: 1 << 16},
		elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Flags: uint32(elf.PF_R | elf.PF_W), Off: at, Vaddr: at, Paddr: at, Filesz: size, Memsz: size, Align: 8},
		// Without it the loader makes the stack executable, or refuses.
		elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W), Align: 16},
		elf.Sym64{},
		dynamic,
		[]byte(words),
	} {
		binary.Write(&out, binary.LittleEndian, part) // to memory
	}
	return out.Bytes()
}
