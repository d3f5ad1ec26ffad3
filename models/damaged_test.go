package models

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// draftOf is a file of one convolution that body may spoil.
func draftOf(body func(d *draft)) []byte {
	d := newDraft("small", 17, "")
	d.input("x", "1,2,4,4")
	d.weights("w", 3, 2, 1, 1)
	d.node("Conv", "x w", "y", nil)
	body(d)
	d.output("y", "1,3,4,4")
	return d.encode()
}

func damagedFiles() []damagedFile {
	whole := draftOf(func(*draft) {})
	cut := len(whole) - 20
	bytesField := func(field protowire.Number, size uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.BytesType), size)
	}
	return []damagedFile{
		{"text", []byte("this is no model"), 0, "wire type 4"},
		{"a picture", []byte("\x89PNG\r\n\x1a\n"), 0, "field 1281: unexpected EOF; the file is cut off or not an ONNX file"},
		{"nothing but a version", appendInt(nil, modelIRVersion, 8), 2, "has no graph"},
		{"cut off", whole[:cut], 9, "field 7: unexpected EOF; the file is cut off"},
		{"a length of exabytes", slices.Concat(appendInt(nil, modelIRVersion, 8), bytesField(modelGraph, 1<<62)), 2, "cut off"},
		{"no version", appendMessage(nil, modelGraph, nil), 2, "no IR version"},
		{"two graphs", slices.Concat(whole, appendMessage(nil, modelGraph, nil)), int64(len(whole)) + 2, "a second graph"},
		{"no operators imported", slices.Concat(appendInt(nil, modelIRVersion, 8), appendMessage(nil, modelGraph, nil)), 4, "imports no set"},
		{"a value from nowhere", draftOf(func(d *draft) { d.node("Relu", "z", "r", nil) }), -1, `node /r/Relu: it reads "z", which nothing before it writes`},
		{"a value twice", draftOf(func(d *draft) { d.node("Relu", "x", "y", nil) }), -1, `it writes "y", which is there already`},
		{"a node without operator", draftOf(func(d *draft) { d.node("", "x", "r", nil) }), -1, "node /r/: it has no operator"},
		{"a tensor twice", draftOf(func(d *draft) { d.weights("w", 1) }), -1, "tensor w: the name is empty or appears twice"},
		{"an attribute twice", draftOf(func(d *draft) {
			b := appendString(appendString(nil, nodeOpType, "Relu"), nodeName, "r")
			a := appendInt(appendString(nil, attributeName, "axis"), attributeInt, 1)
			d.graph = appendMessage(d.graph, graphNode, appendMessage(appendMessage(b, nodeAttribute, a), nodeAttribute, a))
		}), -1, "node r: the attribute axis appears twice"},
		{"data shorter than its shape", draftOf(func(d *draft) {
			d.tensor(rawIn("t", []int{2, 3}, ElemFloat32, make([]byte, 20)))
		}), -1, "tensor t: shape 2x3 of float32 takes 6 × 4 bytes, raw_data has 20"},
		{"a lying shape", draftOf(func(d *draft) { d.tensor(headerIn("t", []int{1 << 30, 1 << 30}, ElemFloat32)) }), -1, "1152921504606846976 elements, 0 are stored"},
		{"a shape beyond counting", draftOf(func(d *draft) { d.tensor(headerIn("t", []int{1 << 31, 1 << 31, 4}, ElemFloat32)) }), -1, "no file can hold"},
		{"a negative extent", draftOf(func(d *draft) { d.tensor(headerIn("t", []int{-1}, ElemFloat32)) }), -1, "dimension 0 is -1"},
		{"a rank of 40", draftOf(func(d *draft) { d.tensor(headerIn("t", slices.Repeat([]int{1}, 40), ElemFloat32)) }), -1, "more than 32 dimensions"},
		{"a name that is no text", draftOf(func(d *draft) { d.node("Relu", "\xff\xfe", "r", nil) }), -1, "not UTF-8"},
		{"another kind of field", draftOf(func(d *draft) { d.graph = appendInt(d.graph, graphNode, 1) }), -1, "field 1 has wire type 0, want 2"},
		{"an output from nowhere", draftOf(func(d *draft) { d.output("z", "1") }), -1, "output z: nothing writes it"},
		{"data elsewhere", draftOf(func(d *draft) {
			d.tensor(appendInt(headerIn("t", []int{1}, ElemFloat32), tensorLocation, 1))
		}), -1, "tensor t: its data is in another file, which is not named"},
		{"data of the machine", draftOf(func(d *draft) { d.tensor(elsewhereIn("t", "../../dev/zero", 1)) }), -1, `tensor t: its data is in "../../dev/zero", want a relative path below`},
		{"data at an absolute path", draftOf(func(d *draft) { d.tensor(elsewhereIn("t", "/dev/zero", 1)) }), -1, "want a relative path below"},
	}
}

// A damaged file is refused with the byte, the part and what was expected.
func TestFileDamaged(t *testing.T) {
	for _, c := range damagedFiles() {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "model.onnx")
			if err := os.WriteFile(path, c.data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := OpenONNX(path)
			damage(t, err, len(c.data))
			var damaged *DamagedError
			if errors.As(err, &damaged); (c.at >= 0 && damaged.Byte != c.at) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want byte %d and %q", err, c.at, c.want)
			}
		})
	}
}

// An unsupportedFile is whole, and no network.
type unsupportedFile struct {
	name    string
	body    func(d *draft)
	network string // refusal to be a network
	counted bool   // and whether the MACs are known all the same
}

func (u unsupportedFile) encode() []byte {
	d := newDraft(u.name, 13, "")
	u.body(d)
	d.output("y", "")
	return d.encode()
}

func unsupportedFiles() []unsupportedFile {
	image := func(d *draft) { d.input("x", "1,2,4,4") }
	norm := func(d *draft, outputs string, a with) {
		image(d)
		for _, part := range []string{"gamma", "beta", "mean", "var"} {
			d.weights(part, 2)
		}
		d.node("BatchNormalization", "x gamma beta mean var", outputs, a)
	}
	return []unsupportedFile{
		{"softmax", func(d *draft) { image(d); d.node("Softmax", "x", "y", nil) }, "Softmax /y/Softmax: only the one of split attention", true},
		{"another domain", func(d *draft) { image(d); d.node("com.microsoft:Gelu", "x", "y", nil) }, "com.microsoft.Gelu /y/com.microsoft:Gelu: operator com.microsoft.Gelu is not ONNX's own", false},
		{"recurrent", func(d *draft) { image(d); d.node("LSTM", "x", "y", nil) }, "operator LSTM is not understood", false},
		{"channels that differ", func(d *draft) {
			image(d)
			d.weights("w", 3, 5, 1, 1)
			d.node("Conv", "x w", "y", nil)
		}, "Conv /y/Conv: a kernel 3x5x1x1 in 1 groups for an input 1x2x4x4", false},
		{"padding on one side", func(d *draft) {
			image(d)
			d.weights("w", 3, 2, 3, 3)
			d.node("Conv", "x w", "y", with{"auto_pad": "SAME_UPPER", "strides": []int{2, 2}})
		}, "padding [0 0] and [1 1]", true},
		{"weights elsewhere", func(d *draft) {
			image(d)
			d.tensor(elsewhereIn("w", "big.data", 3, 2, 1, 1))
			d.node("Conv", "x w", "y", nil)
		}, "the values of w are in another file, big.data", true},
		{"half floats", func(d *draft) { d.value(graphInput, "x", ElemFloat16, "1,2,4,4"); d.node("Relu", "x", "y", nil) }, "input x: it is float16, want float32", true},
		{"features", func(d *draft) { d.input("x", "1,2"); d.node("Relu", "x", "y", nil) }, "its shape is 1x2", true},
		{"wide images", func(d *draft) { d.input("x", "1,2,4,6"); d.node("Relu", "x", "y", nil) }, "want N×C×H×W with square images", true},
		{"two inputs", func(d *draft) { image(d); d.input("z", "1,2,4,4"); d.node("Add", "x z", "y", nil) }, "the file has 2 inputs", true},
		{"a lone three", func(d *draft) {
			image(d)
			d.tensor(floatsIn("three", nil, []float32{3}))
			d.node("Add", "x three", "a", nil)
			d.node("Relu", "a", "y", nil)
		}, "Add /a/Add: on its own it is not an operator", true},
		{"a transposition", func(d *draft) { image(d); d.node("Transpose", "x", "y", with{"perm": []int{0, 2, 3, 1}}) }, "only the one of a channel shuffle", true},
		{"a shape from data", func(d *draft) {
			image(d)
			d.value(graphInput, "s", ElemInt64, "2")
			d.node("Reshape", "x s", "y", nil)
		}, "2 inputs", false},
		{"a graph inside", func(d *draft) {
			image(d)
			b := appendString(appendString(appendString(nil, nodeInput, "x"), nodeOutput, "y"), nodeOpType, "If")
			d.graph = appendMessage(d.graph, graphNode, appendMessage(b, nodeAttribute, appendMessage(appendString(nil, attributeName, "then_branch"), attributeGraph, nil)))
		}, "operator If holds a graph of its own in then_branch", false},
		{"split attention before opset 13", func(d *draft) { // whose softmax went over both axes
			d.opset = 12
			d.input("x", "1,4,1,1")
			d.tensor(intsIn("apart", []int{3}, 1, 2, 2))
			d.tensor(intsIn("together", []int{4}, 1, 4, 1, 1))
			d.node("Reshape", "x apart", "a", nil)
			d.node("Softmax", "a", "b", with{"axis": 1})
			d.node("Reshape", "b together", "y", nil)
		}, "only the one of split attention", true},
		{"a bias on what another node reads", func(d *draft) { // under another name, which is no layer of its own
			image(d)
			d.weights("w", 3, 2, 1, 1)
			d.weights("b", 3, 1, 1)
			d.node("Conv", "x w", "c", nil)
			d.node("Identity", "c", "alias", nil)
			d.node("Add", "alias b", "s", nil)
			d.node("Relu", "c", "r", nil)
			d.node("Add", "s r", "y", nil)
		}, "Add /s/Add: the constant b of shape 3x1x1 is not the bias of a layer", true},
		{"a bias on what is flattened too", func(d *draft) {
			d.input("x", "3,2,1,1")
			d.weights("w", 3, 2, 1, 1)
			d.weights("b", 3, 1, 1)
			d.tensor(intsIn("back", []int{4}, 3, 3, 1, 1))
			d.node("Conv", "x w", "c", nil)
			d.node("Flatten", "c", "f", nil)
			d.node("Reshape", "f back", "c_again", nil)
			d.node("Add", "c_again b", "s", nil)
			d.node("Relu", "c", "r", nil)
			d.node("Add", "s r", "y", nil)
		}, "Add /s/Add: the constant b of shape 3x1x1 is not the bias of a layer", true},
		{"a bias along the batch", func(d *draft) {
			d.input("x", "3,2,1,1")
			d.weights("w", 3, 2)
			d.weights("b", 3, 1)
			d.node("Flatten", "x", "f", nil)
			d.node("Gemm", "f w b", "y", with{"transB": 1})
		}, "Gemm /y/Gemm: its bias has shape 3x1, want 3", true},
		{"clip at one", func(d *draft) { image(d); d.node("Clip", "x", "y", with{"min": 0.0, "max": 1.0}) }, "bounds 0 and 1, want 0 and 6", true},
		{"a pool that writes nothing", func(d *draft) {
			image(d)
			d.node("MaxPool", "x", "-", with{"kernel_shape": []int{2, 2}})
			d.node("Relu", "x", "y", nil)
		}, "it has no output", true},
		{"a pool that counts more padding on the right", func(d *draft) {
			image(d)
			d.weights("w", 3, 2, 1, 2)
			d.node("Conv", "x w", "c", nil)
			d.node("AveragePool", "c", "y", with{"kernel_shape": []int{2, 2}, "strides": []int{2, 2}, "pads": []int{0, 0, 0, 1}, "count_include_pad": 1})
		}, "padding such as [0 0] before and [0 1] after", true},
		{"dropout in training", func(d *draft) {
			image(d)
			d.tensor(rawIn("on", nil, ElemBool, []byte{1}))
			d.node("Dropout", "x - on", "y", nil)
		}, "Dropout /y/Dropout: it is in training mode", true},
		{"an old dropout in training", func(d *draft) { d.opset = 6; image(d); d.node("Dropout", "x", "y", nil) }, "it is in training mode", true},
		{"the mask of a dropout", func(d *draft) {
			image(d)
			d.node("Dropout", "x", "kept mask", nil)
			d.node("Relu", "mask", "y", nil)
		}, "Relu /y/Relu: its input mask is a further output of a node", true},
		{"a norm in training", func(d *draft) { d.opset = 15; norm(d, "y", with{"training_mode": 1}) }, "BatchNormalization /y/BatchNormalization: it is in training mode", true},
		{"a norm that gives statistics", func(d *draft) { norm(d, "y m v", nil) }, "it is in training mode", true},
		{"an old norm in training", func(d *draft) { d.opset = 6; norm(d, "y", nil) }, "it is in training mode", true},
		{"statistics that are read", func(d *draft) {
			norm(d, "n m v", nil)
			d.node("Relu", "m", "y", nil)
		}, "it is in training mode", false},
	}
}

// What a file has that genbench cannot run or count is named, with the node.
func TestFileUnsupported(t *testing.T) {
	for _, c := range unsupportedFiles() {
		t.Run(c.name, func(t *testing.T) {
			f := fileFrom(t, c.encode())
			shapes, err := f.Resolve(0, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Network(shapes)
			var unsupported *UnsupportedError
			if !errors.As(err, &unsupported) || !strings.Contains(err.Error(), c.network) {
				t.Errorf("got %v, want an UnsupportedError with %q", err, c.network)
			}
			cost, err := f.Cost(shapes)
			if err != nil {
				t.Fatal(err)
			}
			if (cost.MACs != nil) != c.counted || (len(cost.Unknown) == 0) != c.counted {
				t.Errorf("MACs %v, reasons %q; want them known: %t", cost.MACs, cost.Unknown, c.counted)
			}
		})
	}
}
