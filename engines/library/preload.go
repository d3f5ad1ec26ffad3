package library

import (
	"debug/elf"
	"fmt"
	"path/filepath"

	"genbench/hardware/native"
)

// An Absent is a library that another one needs and that is nowhere to be found.
type Absent struct {
	Soname string
	Looked []string // places, with the answer of the loader to a file that is there
}

// Needed lists what the library at path is linked with.
func Needed(path string) ([]string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read what %s needs: %w", path, err)
	}
	defer file.Close()
	sonames, err := file.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("read what %s needs: %w", path, err)
	}
	return sonames, nil
}

// PreloadNamed opens what the library at path asks the loader for by name and leaves it
// open, so that the loader already has it then. It looks beside that library first,
// whose maker knows which versions go together: in its folder, and in those of NVIDIA's
// other packages where pip put it ("nvidia/cublas/lib" for "nvidia/cudnn/lib"). Then
// come the loader's own places, genbench's cache and the Python packages of this box
// ("nvidia/cu13/lib", "tensorrt_libs"). It returns those that it found nowhere.
func PreloadNamed(path string, sonames []string) []Absent {
	var missing []Absent
	for _, soname := range sonames {
		if absent := preload(filepath.Dir(path), soname); absent != nil {
			missing = append(missing, *absent)
		}
	}
	return missing
}

func preload(dir, soname string) *Absent {
	absent := &Absent{Soname: soname}
	open := func(files []string) bool {
		for _, file := range files {
			_, err := native.Open(file)
			if err == nil {
				return true
			}
			absent.Looked = append(absent.Looked, err.Error()) // names the file
		}
		return false
	}
	beside := glob(dir, soname)
	if filepath.Base(dir) == "lib" {
		beside = append(beside, glob(filepath.Dir(filepath.Dir(dir)), "*/lib/"+soname)...)
	}
	if open(beside) {
		return nil
	}
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
	if open(files) {
		return nil
	}
	if len(absent.Looked) == 0 {
		absent.Looked = []string{soname + ": the loader, genbench's cache and Python's packages"}
	}
	return absent
}
