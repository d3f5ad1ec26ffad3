package library

import (
	"debug/elf"
	"fmt"

	"genbench/hardware/native"
)

// An Absent is a library that another one needs and that is nowhere.
type Absent struct {
	Soname string
	Looked []string // places, with the answer of the loader to a file that is there
}

// Preload opens what the library at path is linked with and leaves it open, so that
// the loader has it when that library is opened. Beside the loader's own places it
// looks in genbench's cache and among the Python packages of this box, where pip puts
// NVIDIA's libraries ("nvidia/cublas/lib", "nvidia/cu13/lib", "tensorrt_libs"). It
// gives those that are nowhere.
func Preload(path string) ([]Absent, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read what %s needs: %w", path, err)
	}
	defer file.Close()
	sonames, err := file.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("read what %s needs: %w", path, err)
	}
	var missing []Absent
	for _, soname := range sonames {
		if absent := preload(soname); absent != nil {
			missing = append(missing, *absent)
		}
	}
	return missing, nil
}

func preload(soname string) *Absent {
	absent := &Absent{Soname: soname}
	if _, err := native.Open(soname); err == nil {
		return nil
	}
	var files []string
	if cache, err := CacheDir(); err == nil {
		files = glob(cache, "*/*/"+soname)
	}
	for _, dir := range sitePackages() {
		files = append(files, glob(dir, "nvidia/*/lib/"+soname)...)
		files = append(files, glob(dir, "tensorrt_libs/"+soname)...)
	}
	for _, file := range files {
		_, err := native.Open(file)
		if err == nil {
			return nil
		}
		absent.Looked = append(absent.Looked, err.Error()) // names the file
	}
	if len(files) == 0 {
		absent.Looked = []string{soname + ": the loader, genbench's cache and Python's packages"}
	}
	return absent
}
