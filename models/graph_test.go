package models

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestInfer(t *testing.T) {
	conv := Conv{In: 4, Out: 6, KernelH: 3, KernelW: 3, Stride: 2, PadH: 1, PadW: 1, Dilation: 1, Groups: 2}
	dilated, oblong := conv, conv
	dilated.Dilation = 2
	oblong.KernelW, oblong.PadW = 1, 0
	x := Shape{2, 4, 7, 8}
	for _, c := range []struct {
		op   Op
		in   []Shape
		want Shape
	}{
		{conv, []Shape{x}, Shape{2, 6, 4, 4}},
		{dilated, []Shape{x}, Shape{2, 6, 3, 3}},
		{oblong, []Shape{x}, Shape{2, 6, 4, 4}},
		{BatchNorm{4, 1e-5}, []Shape{x}, x},
		{BatchNorm{4, 1e-5}, []Shape{{2, 4}}, Shape{2, 4}},
		{Activation{SiLU}, []Shape{x}, x},
		{Add{}, []Shape{x, x}, x},
		{Mul{}, []Shape{x, {2, 4, 1, 1}}, x},
		{Mul{}, []Shape{{2, 4, 1, 1}, x}, x},
		{Concat{}, []Shape{x, {2, 3, 7, 8}, x}, Shape{2, 11, 7, 8}},
		{Slice{1, 3}, []Shape{x}, Shape{2, 2, 7, 8}},
		{MaxPool{Kernel: 3, Stride: 2, Pad: 1}, []Shape{x}, Shape{2, 4, 4, 4}},
		{MaxPool{Kernel: 2, Stride: 2}, []Shape{x}, Shape{2, 4, 3, 4}},
		{MaxPool{Kernel: 2, Stride: 2, Ceil: true}, []Shape{x}, Shape{2, 4, 4, 4}},
		// A window that would begin behind the input is left out.
		{AvgPool{Kernel: 2, Stride: 2, Pad: 1, Ceil: true}, []Shape{{1, 1, 5, 4}}, Shape{1, 1, 3, 3}},
		{AvgPool{Kernel: 1, Stride: 3, Ceil: true}, []Shape{{1, 1, 5, 4}}, Shape{1, 1, 2, 2}},
		{GlobalAvgPool{}, []Shape{x}, Shape{2, 4, 1, 1}},
		{Flatten{}, []Shape{x}, Shape{2, 224}},
		{Linear{In: 4, Out: 9}, []Shape{{2, 4}}, Shape{2, 9}},
		{Shuffle{2}, []Shape{x}, x},
		{RadixSoftmax{2}, []Shape{{2, 4, 1, 1}}, Shape{2, 4, 1, 1}},
	} {
		got, err := c.op.infer(c.in)
		if err != nil || !got.Equal(c.want) {
			t.Errorf("%s %+v of %v: %v (%v), want %v", c.op.Kind(), c.op, c.in, got, err, c.want)
		}
	}
}

func TestInferRefuses(t *testing.T) {
	conv := Conv{In: 4, Out: 6, KernelH: 3, KernelW: 3, Stride: 1, Dilation: 1, Groups: 2}
	still, uneven := conv, conv
	still.Stride, uneven.Groups = 0, 3
	x := Shape{2, 4, 7, 8}
	for _, c := range []struct {
		op Op
		in []Shape
	}{
		{conv, nil},
		{conv, []Shape{{2, 5, 7, 8}}},
		{conv, []Shape{{2, 4}}},
		{still, []Shape{x}},
		{uneven, []Shape{x}},
		{BatchNorm{3, 1e-5}, []Shape{x}},
		{Activation{"tanh"}, []Shape{x}},
		{Add{}, []Shape{x, {2, 4, 1, 1}}},
		{Add{}, []Shape{x}},
		{Mul{}, []Shape{x, {2, 3, 1, 1}}},
		{Mul{}, []Shape{x, {2, 4, 7, 1}}},
		{Concat{}, nil},
		{Concat{}, []Shape{x, {2, 4, 8, 8}}},
		{Slice{3, 3}, []Shape{x}},
		{Slice{0, 5}, []Shape{x}},
		{Slice{-1, 2}, []Shape{x}},
		{MaxPool{Kernel: 2, Stride: 0}, []Shape{x}},
		{AvgPool{Kernel: 2, Stride: 2, Pad: 2}, []Shape{x}},
		{Linear{In: 5, Out: 9}, []Shape{{2, 4}}},
		{Linear{In: 4, Out: 9}, []Shape{x}},
		{Shuffle{3}, []Shape{x}},
		{RadixSoftmax{2}, []Shape{x}},
		{GlobalAvgPool{}, []Shape{{2, 4}}},
		{Flatten{}, []Shape{x, x}},
	} {
		if got, err := c.op.infer(c.in); err == nil {
			t.Errorf("%s %+v of %v gave %v, want an error", c.op.Kind(), c.op, c.in, got)
		} else if !strings.Contains(err.Error(), c.op.Kind()) && !strings.Contains(err.Error(), "activation") {
			t.Errorf("%s %+v of %v: %q does not name the operator", c.op.Kind(), c.op, c.in, err)
		}
	}
}

func TestShapesNameTheNode(t *testing.T) {
	for _, c := range []struct {
		nodes []Node
		says  []string
	}{
		{[]Node{{Name: "early", Op: Add{}, Inputs: []int{Image, 1}}}, []string{"tiny", "early", "not an earlier node"}},
		{[]Node{{Name: "fc", Op: Linear{In: 3, Out: 2}, Inputs: []int{Image}}}, []string{"tiny", "fc", "rank 2"}},
		{[]Node{{Name: "pool", Op: MaxPool{Kernel: 8, Stride: 1}, Inputs: []int{Image}}}, []string{"pool", "empty shape"}},
	} {
		n := &Network{Name: "tiny", Resolution: 4, Channels: 3, Nodes: c.nodes}
		_, err := n.Shapes(1)
		for _, word := range c.says {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%s: error %v does not say %q", c.nodes[0].Name, err, word)
			}
		}
		if _, err := CostOf(n); err == nil {
			t.Errorf("%s: CostOf accepted it", c.nodes[0].Name)
		}
	}
}

func TestBuilderRefusesNamesakes(t *testing.T) {
	b := newBuilder("twins", 8)
	x := b.add("pool", GlobalAvgPool{}, "", Image)
	b.add("pool", GlobalAvgPool{}, "", x)
	if b.err == nil || !strings.Contains(b.err.Error(), "pool") {
		t.Errorf("two nodes called pool: %v", b.err)
	}
	first := b.err
	b.classifier(b.layer(b.act(x, ReLU), layer{conv: "conv", norm: "bn", out: 8, kernel: 3}), "fc")
	if b.err != first || len(b.net.Nodes) != 1 {
		t.Errorf("after an error: %v, %d nodes; want the first error and nothing added", b.err, len(b.net.Nodes))
	}
}

// TestGraphs compares every edge and attribute with the source's own graph, as far
// as it could be traced: graphs.txt has a digest of each, made by the rule below.
// The others are held by their layer lists and golden outputs.
func TestGraphs(t *testing.T) {
	data, err := os.ReadFile("testdata/graphs.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) < 50 {
		t.Fatalf("%d graphs, want 50 at least", len(lines))
	}
	for _, line := range lines {
		name, want, _ := strings.Cut(line, " ")
		n, err := New(name, 0)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := graphDigest(t, n); got != want {
			t.Errorf("%s: graph %s, its source's is %s", name, got, want)
		}
	}
}

// graphDigest hashes a network from its output back to its input. A node's text
// is its operator, attributes and key, then the digests of its inputs; those of
// sums and products are sorted, and concatenations of concatenations are one.
func graphDigest(t *testing.T, n *Network) string {
	t.Helper()
	digest := func(parts []string, in []string) string {
		sum := sha256.Sum256([]byte(strings.Join(parts, " ") + " (" + strings.Join(in, ",") + ")"))
		return hex.EncodeToString(sum[:8])
	}
	values := make([][]string, len(n.Nodes)) // more than one: a concatenation
	for i, node := range n.Nodes {
		var joined, in []string
		for _, j := range node.Inputs {
			v := []string{"input"}
			if j != Image {
				v = values[j]
			}
			joined = append(joined, v...)
			if len(v) > 1 {
				v = []string{digest([]string{"concat"}, v)}
			}
			in = append(in, v...)
		}
		var attributes []any
		switch op := node.Op.(type) {
		case Conv:
			if op.KernelW != op.KernelH || op.PadW != op.PadH {
				t.Errorf("%s of %s: the digest tells the height of its kernel alone", node.Name, n.Name)
			}
			attributes = []any{op.In, op.Out, op.KernelH, op.Stride, op.PadH, op.Dilation, op.Groups, btoi(op.Bias)}
		case BatchNorm:
			attributes = []any{op.Channels, op.Epsilon}
		case Linear:
			attributes = []any{op.In, op.Out, btoi(op.Bias)}
		case MaxPool:
			attributes = []any{op.Kernel, op.Stride, op.Pad, btoi(op.Ceil)}
		case AvgPool:
			attributes = []any{op.Kernel, op.Stride, op.Pad, btoi(op.Ceil), btoi(op.CountPad)}
		case Add, Mul:
			slices.Sort(in)
		case Activation, GlobalAvgPool, Flatten:
		case Concat:
			values[i] = joined
			continue
		default:
			t.Fatalf("%s: no rule for %s", node.Name, node.Op.Kind())
		}
		parts := []string{node.Op.Kind()}
		for _, a := range attributes {
			parts = append(parts, fmt.Sprint(a))
		}
		if node.Weights != "" {
			parts = append(parts, node.Weights)
		}
		values[i] = []string{digest(parts, in)}
	}
	return values[len(n.Nodes)-1][0]
}
