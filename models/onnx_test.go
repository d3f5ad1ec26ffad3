package models

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestNetworksGolden pins every network down to the bytes of its ONNX file. With
// -short it leaves out the hashes of the larger networks, which take seconds.
func TestNetworksGolden(t *testing.T) {
	const file, small = "testdata/networks.txt", 5e6 // parameters
	if *update && testing.Short() {
		t.Fatal("-update needs all hashes; run without -short")
	}
	infos := List()
	lines := make([]string, len(infos))
	for i, info := range infos {
		n, err := New(info.Name, 0)
		if err != nil {
			t.Fatal(err)
		}
		hash := "-"
		if !testing.Short() || info.Params < small {
			model, err := ONNX(n, ExportOptions{Batch: 1, Precision: FP32})
			if err != nil {
				t.Fatal(err)
			}
			hash = fmt.Sprintf("%x", sha256.Sum256(model))
		}
		lines[i] = fmt.Sprintf("%s %d %d %d %s", info.Name, info.Params, info.MACs, len(n.Nodes), hash)
	}
	const head = "# name, parameters, multiply-accumulates, nodes, SHA-256 of the ONNX file at batch 1\n"
	got := head + strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := string(data)
	if testing.Short() {
		kept := strings.Split(want, "\n")
		for i, line := range kept {
			if i >= 1 && i <= len(lines) && strings.HasSuffix(lines[i-1], " -") {
				kept[i] = line[:strings.LastIndexByte(line, ' ')+1] + "-"
			}
		}
		want = strings.Join(kept, "\n")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s, file against zoo (-update rewrites it):\n%s", file, diff)
	}
}

// The bytes depend on nothing but network and options, on no number of CPUs.
func TestONNXIsDeterministic(t *testing.T) {
	export := func() []byte {
		n, err := New("efficientnet-b0", 0)
		if err != nil {
			t.Fatal(err)
		}
		model, err := ONNX(n, ExportOptions{Batch: 4, Precision: FP32})
		if err != nil {
			t.Fatal(err)
		}
		return model
	}
	first := export()
	if !bytes.Equal(first, export()) {
		t.Error("two exports differ")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if !bytes.Equal(first, export()) {
		t.Error("an export on one CPU differs")
	}
}

func TestONNXRefuses(t *testing.T) {
	n, err := New("genet-small", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ONNX(n, ExportOptions{Batch: 1, Precision: "fp17"})
	var precision *PrecisionError
	if !errors.As(err, &precision) || precision.Precision != "fp17" || !slices.Contains(precision.Supported, FP32) {
		t.Errorf("precision fp17: %v, want a PrecisionError", err)
	}
	if _, err := ONNX(n, ExportOptions{Batch: 0, Precision: FP32}); err == nil || !strings.Contains(err.Error(), "batch 0") {
		t.Errorf("batch 0: %v", err)
	}
	// 10 GB of weights do not fit into a protobuf message.
	huge := &Network{Name: "huge", Resolution: 1, Channels: 50000, Weights: Synthetic(), Nodes: []Node{
		{Name: "flatten", Op: Flatten{}, Inputs: []int{Image}},
		{Name: "fc", Op: Linear{In: 50000, Out: 50000, Bias: true}, Inputs: []int{0}, Weights: "fc"},
	}}
	if _, err := ONNX(huge, ExportOptions{Batch: 1, Precision: FP32}); err == nil || !strings.Contains(err.Error(), "protobuf") {
		t.Errorf("a file beyond 2 GiB: %v", err)
	}
	failing := *n
	failing.Weights = brokenWeights{}
	if _, err := ONNX(&failing, ExportOptions{Batch: 1, Precision: FP32}); !errors.Is(err, errBroken) {
		t.Errorf("weights that cannot be loaded: %v", err)
	}
}

var errBroken = errors.New("broken on purpose")

type brokenWeights struct{}

func (brokenWeights) Load(Param, []float32) error { return errBroken }
func (brokenWeights) Origin() string              { return "nowhere" }

// Every operator and activation, read back from the file by an independent walk
// over its fields.
func TestONNXOperators(t *testing.T) {
	b := newBuilder("operators", 8)
	x := b.layer(Image, layer{conv: "conv", norm: "bn", out: 8, kernel: 3, stride: 2, act: ReLU6})
	for i, f := range []ActivationFunc{ReLU, SiLU, HardSwish, HardSigmoid, Sigmoid} {
		x = b.add(fmt.Sprintf("act%d", i), Activation{f}, "", x)
	}
	x = b.norm(x, "lonely")
	left, right := b.add("left", Slice{0, 4}, "", x), b.add("right", Slice{4, 8}, "", x)
	x = b.add("concat", Concat{}, "", b.add("sum", Add{}, "", left, right), right)
	x = b.add("shuffle", Shuffle{2}, "", x)
	x = b.add("avgpool", AvgPool{Kernel: 3, Stride: 1, Pad: 1, CountPad: true}, "", x)
	x = b.add("maxpool", MaxPool{Kernel: 3, Stride: 2, Ceil: true}, "", x)
	gate := b.add("softmax", RadixSoftmax{2}, "", b.add("pool", GlobalAvgPool{}, "", x))
	x = b.add("gate", Mul{}, "", x, gate)
	x = b.add("flatten", Flatten{}, "", b.add("pool2", GlobalAvgPool{}, "", x))
	b.linear(x, "fc", 5)
	if b.err != nil {
		t.Fatal(b.err)
	}
	b.net.Weights = Synthetic()
	model, err := ONNX(b.net, ExportOptions{Batch: 2, Precision: FP32})
	if err != nil {
		t.Fatal(err)
	}
	var ops []string
	produced := map[string]bool{InputName: true}
	graph := field(t, model, modelGraph)[0]
	for _, tensor := range field(t, graph, graphInitializer) {
		name := string(field(t, tensor, tensorName)[0])
		if produced[name] {
			t.Errorf("initializer %s appears twice", name)
		}
		produced[name] = true
	}
	for _, node := range field(t, graph, graphNode) {
		op := string(field(t, node, nodeOpType)[0])
		ops = append(ops, op)
		for _, in := range field(t, node, nodeInput) {
			if !produced[string(in)] {
				t.Errorf("%s reads %s before it is there", op, in)
			}
		}
		for _, out := range field(t, node, nodeOutput) {
			if produced[string(out)] {
				t.Errorf("%s writes %s, which is there", op, out)
			}
			produced[string(out)] = true
		}
	}
	if !produced[OutputName] {
		t.Errorf("nothing writes %s", OutputName)
	}
	want := strings.Fields(`Conv Clip Relu Sigmoid Mul HardSwish HardSigmoid Sigmoid BatchNormalization Slice Slice Add Concat
		Reshape Transpose Reshape AveragePool MaxPool GlobalAveragePool Reshape Softmax Reshape Mul
		GlobalAveragePool Flatten Gemm`)
	if diff := cmp.Diff(want, ops); diff != "" {
		t.Errorf("operators, want against got:\n%s", diff)
	}
}

// field gives the length-delimited fields of that number.
func field(t *testing.T, message []byte, want protowire.Number) [][]byte {
	t.Helper()
	var found [][]byte
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeField(message)
		if n < 0 {
			t.Fatalf("parse a message: %v", protowire.ParseError(n))
		}
		if number == want && kind == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(message)
			value, _ := protowire.ConsumeBytes(message[tag:n])
			found = append(found, value)
		}
		message = message[n:]
	}
	return found
}

// varint gives the last value of an integer field.
func varint(t *testing.T, message []byte, want protowire.Number) uint64 {
	t.Helper()
	value, found := uint64(0), false
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeField(message)
		if n < 0 {
			t.Fatalf("parse a message: %v", protowire.ParseError(n))
		}
		if number == want && kind == protowire.VarintType {
			_, _, tag := protowire.ConsumeTag(message)
			value, _ = protowire.ConsumeVarint(message[tag:n])
			found = true
		}
		message = message[n:]
	}
	if !found {
		t.Fatalf("the message has no integer field %d", want)
	}
	return value
}

func BenchmarkONNX(b *testing.B) {
	n, err := New("genet-large", 0)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		model, err := ONNX(n, ExportOptions{Batch: 1, Precision: FP32})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(model)))
	}
}

// Whatever a network calls its nodes, the exporter's own names differ from them: the
// file is whole and says the same.
func TestONNXNames(t *testing.T) {
	n := blocksNetwork(t)
	options := []ExportOptions{{Batch: 1, Precision: FP32}, {Batch: 1, Precision: FP16}}
	for _, k := range []Kernels{FusedKernels, OperatorKernels} {
		options = append(options, ExportOptions{Batch: 1, Precision: INT8, Kernels: k})
	}
	options = append(options, ExportOptions{Batch: 1, Precision: FP8})
	for _, o := range options {
		written := func(n *Network) (names []string, nodes int) {
			o.Ranges = madeUpRanges(t, n)
			model, err := ONNX(n, o)
			if err != nil {
				t.Fatal(err)
			}
			f := fileFrom(t, model) // which refuses a value that is written twice
			for name := range f.tensors {
				names = append(names, name)
			}
			seen := map[string]bool{}
			for _, node := range f.nodes {
				if seen[node.name] {
					t.Errorf("%s, kernels %d: two nodes are called %s", o.Precision, o.Kernels, node.name)
				}
				seen[node.name] = true
				names = append(append(names, node.name), node.out...)
			}
			slices.Sort(names)
			return slices.Compact(names), len(f.nodes)
		}
		all, nodes := written(n)
		own := map[string]bool{InputName: true, OutputName: true}
		for _, node := range n.Nodes {
			own[node.Name] = true
		}
		helpers := slices.DeleteFunc(all, func(name string) bool { return own[name] })
		if len(helpers) < len(n.Nodes) {
			t.Fatalf("%s: %d names to take for %d nodes", o.Precision, len(helpers), len(n.Nodes))
		}
		// Twice, as a name that gave way must not meet another one that did.
		for range 2 {
			for from := 0; from < len(helpers); from += len(n.Nodes) {
				renamed := *n
				renamed.Nodes = slices.Clone(n.Nodes)
				for i := range renamed.Nodes {
					if from+i < len(helpers) {
						renamed.Nodes[i].Name = helpers[from+i]
					}
				}
				names, got := written(&renamed)
				if got != nodes || len(names) < len(helpers) {
					t.Errorf("%s, kernels %d: %d nodes under other names, want %d", o.Precision, o.Kernels, got, nodes)
				}
			}
			for i := range helpers {
				helpers[i] += "_"
			}
		}
	}
}

// A file's own names for nodes can be those of weights.
func TestONNXOfAFileThatCallsANodeAsAWeight(t *testing.T) {
	d := newDraft("names", 17, "")
	d.input("x", "1,2,4,4")
	d.weights("w", 3, 2, 1, 1)
	d.node("Conv", "x w", "a", nil)
	d.node("Relu", "a", "a_weight", nil)
	d.node("Flatten", "a_weight", "y", nil)
	d.output("y", "")
	f := fileFrom(t, d.encode())
	shapes, err := f.Resolve(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.Network(shapes)
	if err != nil {
		t.Fatal(err)
	}
	if n.Nodes[0].Params()[0].Key != n.Nodes[1].Name {
		t.Fatalf("the weight is %s, the node %s: nothing is tested", n.Nodes[0].Params()[0].Key, n.Nodes[1].Name)
	}
	model, err := ONNX(n, ExportOptions{Batch: 1, Precision: FP32})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readONNX(&mapped{path: "again.onnx", data: model}); err != nil {
		t.Error(err)
	}
}
