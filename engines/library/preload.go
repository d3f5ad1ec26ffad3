package library

import (
	"debug/elf"
	"fmt"
	"path/filepath"

	"genbench/hardware/native"
)

// An Absent is a library that another one needs and that is nowhere.
type Absent struct {
	Soname string
	Looked []string // places, with the loader's answer where it gave one
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
	_, err := native.Open(soname)
	if err == nil {
		return nil
	}
	absent.Looked = append(absent.Looked, fmt.Sprintf("the loader: %v", err))
	var files []string
	if cache, err := CacheDir(); err == nil {
		files = glob(cache, "*/*/"+soname)
	}
	for _, dir := range sitePackages() {
		files = append(files, glob(dir, "nvidia/*/lib/"+soname)...)
		files = append(files, glob(dir, filepath.Join("tensorrt_libs", soname))...)
	}
	for _, file := range files {
		if _, err := native.Open(file); err == nil {
			return nil
		} else {
			absent.Looked = append(absent.Looked, err.Error())
		}
	}
	if len(files) == 0 {
		absent.Looked = append(absent.Looked, soname+" in genbench's cache and in Python's packages: no such file")
	}
	return absent
}
