package models

import (
	"strconv"
	"strings"
	"testing"
)

// Shapes and MACs of single nodes, worked out by hand from onnx/docs/Operators.md.
func TestFileShapes(t *testing.T) {
	for _, c := range []struct {
		op, in     string // extents of the inputs; "=" before numbers that are stored
		attributes with
		out        string
		macs       int64
	}{
		{"Conv", "2,4,9,9 6,2,3,3", with{"group": 2, "strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}}, "2x6x5x5", 2 * 6 * 25 * 18},
		{"Conv", "1,1,10 1,1,3", with{"dilations": []int{2}}, "1x1x6", 18},
		{"Conv", "1,1,7,7 1,1,2,2", with{"auto_pad": "SAME_LOWER", "strides": []int{3, 3}}, "1x1x3x3", 36},
		{"ConvTranspose", "1,3,4,4 3,2,3,3", with{"strides": []int{2, 2}, "output_padding": []int{1, 1}}, "1x2x10x10", 3 * 16 * 2 * 9},
		{"Gemm", "3,5 7,3", with{"transA": 1, "transB": 1}, "5x7", 3 * 5 * 7},
		{"MatMul", "2,1,3,4 5,4,6", nil, "2x5x3x6", 2 * 5 * 3 * 4 * 6},
		{"MatMul", "4 4,6", nil, "6", 24},
		{"MaxPool", "1,1,6,6", with{"kernel_shape": []int{3, 3}, "strides": []int{2, 2}, "ceil_mode": 1}, "1x1x3x3", 0},
		{"MaxPool", "1,1,6,6", with{"kernel_shape": []int{3, 3}, "strides": []int{2, 2}}, "1x1x2x2", 0},
		{"AveragePool", "1,1,5,5", with{"kernel_shape": []int{2, 2}, "strides": []int{3, 3}, "pads": []int{1, 1, 0, 0}, "ceil_mode": 1}, "1x1x2x2", 0},
		{"GlobalMaxPool", "2,3,4,5", nil, "2x3x1x1", 0},
		{"Add", "3,1,5 4,1", nil, "3x4x5", 0},
		{"Reshape", "2,3,4 =0,-1", nil, "2x12", 0},
		{"Flatten", "2,3,4", with{"axis": -1}, "6x4", 0},
		{"Transpose", "2,3,4", nil, "4x3x2", 0},
		{"Concat", "2,3 2,4", with{"axis": -1}, "2x7", 0},
		{"Slice", "10,6 =8,1 =2,100 =0,1 =-3,2", nil, "2x3", 0},
		{"Slice", "10 =-3 =-9223372036854775808 =0 =-1", nil, "8", 0},
		{"Squeeze", "1,3,1 =0", nil, "3x1", 0},
		{"Unsqueeze", "3 =0,-1", nil, "1x3x1", 0},
		{"Gather", "5,6 2,3", with{"axis": 1}, "5x2x3", 0},
		{"Expand", "3,1 =2,1,4", nil, "2x3x4", 0},
		{"Tile", "2,3 =2,2", nil, "4x6", 0},
		{"Pad", "1,2,3,3 =0,0,1,2,0,0,3,-1", nil, "1x2x7x4", 0},
		{"ReduceMean", "2,3,4", with{"axes": []int{-1}, "keepdims": 0}, "2x3", 0},
		{"ReduceMax", "2,3,4", nil, "1x1x1", 0},
		{"ArgMax", "2,3,4", with{"axis": 1, "keepdims": 0}, "2x4", 0},
		{"DepthToSpace", "1,8,2,3", with{"blocksize": 2}, "1x2x4x6", 0},
		{"SpaceToDepth", "1,2,4,6", with{"blocksize": 2}, "1x8x2x3", 0},
		{"Resize", "1,2,4,4 - - =1,2,8,12", nil, "1x2x8x12", 0},
		{"Shape", "2,3,4", with{"start": -2}, "2", 0},
		{"ConstantOfShape", "=2,5", nil, "2x5", 0},
		{"Range", "=2 =11 =3", nil, "3", 0},
	} {
		t.Run(c.op+" "+c.in, func(t *testing.T) {
			d := newDraft("one", 18, "")
			names := []string{}
			for i, in := range strings.Fields(c.in) {
				name := string(rune('a' + i))
				numbers, stored := strings.CutPrefix(in, "=")
				switch {
				case in == "-":
					name = "-"
				case stored:
					list, scalar := numbersIn(t, numbers)
					extents := []int{len(list)}
					if scalar && c.op == "Range" {
						extents = nil
					}
					d.tensor(intsIn(name, extents, list...))
				default:
					d.input(name, in)
				}
				names = append(names, name)
			}
			d.node(c.op, strings.Join(names, " "), "y", c.attributes)
			d.output("y", "")
			f := fileFrom(t, d.encode())
			shapes, err := f.Resolve(0, nil)
			if err != nil {
				t.Fatal(err)
			}
			in, err := f.infer(shapes)
			if err != nil {
				t.Fatal(err)
			}
			if got := in.values["y"].shape; got == nil || got.String() != c.out || in.macs[0] != c.macs {
				t.Errorf("got %v and %d MACs, want %s and %d; %q", got, in.macs[0], c.out, c.macs, in.stops)
			}
		})
	}
}

func numbersIn(t *testing.T, s string) (list []int, scalar bool) {
	t.Helper()
	for _, part := range strings.Split(s, ",") {
		n, err := strconv.Atoi(part)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	return list, len(list) == 1
}
