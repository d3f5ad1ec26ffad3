package tensorrt

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

var _ engines.FileEngine = (*engine)(nil)

// BuildFile implements engines.FileEngine through TensorRT's own ONNX parser, which
// takes the operators it knows. The contents' shapes are fixed in the network before it
// is built. A model with a shape that depends on values is refused: its memory could
// not be laid out before an inference.
func (e *engine) BuildFile(ctx context.Context, f *models.File, inputs []models.Value, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	s, err := e.buildFile(ctx, f, inputs, stream, o)
	if err != nil {
		return nil, fmt.Errorf("build %s on tensorrt: %w", f.Path, err)
	}
	return s, nil
}

func (e *engine) buildFile(ctx context.Context, f *models.File, inputs []models.Value, stream hardware.Stream, o engines.BuildOptions) (*session, error) {
	precision := f.Precision()
	if precision == models.FP32 && o.Precision == models.TF32 {
		precision = models.TF32
	}
	if e.table == nil {
		return nil, errors.New("the engine is closed")
	}
	if err := e.computes(precision); err != nil {
		return nil, err
	}
	if len(inputs) != len(f.Inputs) {
		return nil, fmt.Errorf("%d inputs are given, the file has %d", len(inputs), len(f.Inputs))
	}
	for _, v := range inputs {
		if size := v.Elem.Size(); size == 0 || len(v.Data) != size*v.Shape.Elements() {
			return nil, fmt.Errorf("input %s: %d bytes for shape %v of %s", v.Name, len(v.Data), v.Shape, v.Elem)
		}
	}
	// A relative path would be the library's to interpret.
	path, err := filepath.Abs(f.Path)
	if err != nil {
		return nil, err
	}
	model, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	depends, err := digestFiles(filepath.Dir(path), f.External)
	if err != nil {
		return nil, err
	}
	s, err := e.compile(ctx, order{model: model, precision: precision, path: path, inputs: inputs, depends: depends, build: o.Build}, stream)
	if err != nil {
		return nil, err
	}
	s.file = f.Path
	if err := s.fill(inputs); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	// Of several outputs the file says which is first.
	place := func(p port) int {
		return slices.IndexFunc(f.Outputs, func(v models.ValueInfo) bool { return v.Name == p.name })
	}
	slices.SortStableFunc(s.outputs, func(a, b port) int { return cmp.Compare(place(a), place(b)) })
	return s, nil
}

// digestFiles is a digest of the files that hold a model's other tensors; empty where
// there are none.
func digestFiles(dir string, names []string) (string, error) {
	if len(names) == 0 {
		return "", nil
	}
	var parts [][]byte
	for _, name := range names {
		h := sha256.New()
		// models.OpenONNX refuses names that lead elsewhere. Links are the user's own:
		// caches of downloads are made of them.
		if err := copyFile(h, filepath.Join(dir, name)); err != nil {
			return "", err
		}
		parts = append(parts, []byte(name), h.Sum(nil))
	}
	return digest(parts...), nil
}

// copyFile reads a regular file; a device or a pipe might never end.
func copyFile(w io.Writer, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "read", Path: path, Err: errors.New("it is not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// fill copies the contents of a file's inputs to the device. An input that the parser
// found unused is not in the plan.
func (s *session) fill(inputs []models.Value) error {
	for _, in := range s.inputs {
		at := slices.IndexFunc(inputs, func(v models.Value) bool { return v.Name == in.name })
		if at < 0 {
			return fmt.Errorf("the plan has an input %s, which the file does not have", in.name)
		}
		v := inputs[at]
		data, err := contentFor(v, in.kind)
		if err == nil && !v.Shape.Equal(in.shape) {
			err = fmt.Errorf("the plan gives it shape %v, want %v", in.shape, v.Shape)
		}
		if err == nil {
			err = s.stream.CopyIn(in.data, data)
		}
		if err != nil {
			return fmt.Errorf("set input %s: %w", in.name, err)
		}
	}
	return nil
}

// contentFor gives the content of an input as a plan holds it. TensorRT 8 has no
// 64-bit integers: its parser makes 32-bit ones of them.
func contentFor(v models.Value, kind elementType) ([]byte, error) {
	same := map[models.ElemType]elementType{
		models.ElemFloat32: float32s, models.ElemFloat16: float16s, models.ElemBFloat16: bfloat16s,
		models.ElemInt8: int8s, models.ElemUint8: uint8s, models.ElemInt32: int32s, models.ElemInt64: int64s, models.ElemBool: booleans,
	}
	if known, ok := same[v.Elem]; ok && known == kind {
		return v.Data, nil
	}
	if v.Elem != models.ElemInt64 || kind != int32s {
		return nil, fmt.Errorf("the file has it as %s, the plan in another type", v.Elem)
	}
	narrow := make([]byte, 0, len(v.Data)/2)
	for at := 0; at < len(v.Data); at += 8 {
		wide := int64(binary.LittleEndian.Uint64(v.Data[at:]))
		if wide < math.MinInt32 || wide > math.MaxInt32 {
			return nil, fmt.Errorf("TensorRT takes it in 32 bits, which do not hold %d", wide)
		}
		narrow = binary.LittleEndian.AppendUint32(narrow, uint32(int32(wide)))
	}
	return narrow, nil
}
