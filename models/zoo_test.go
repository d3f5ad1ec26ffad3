package models

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The files under testdata hold what other implementations gave: oracle.csv and
// layers/ were counted by running each source's own model with hooks on every
// layer, keys/ lists state-dict prefixes in execution order, golden.json the
// outputs for synthetic weights in float64.

// withoutKeys are the networks that keys/ has no file of: their sources' graphs were not
// traced.
func withoutKeys() []string {
	return []string{
		"mobilenetv2-0.35", "mobilenetv2-0.75", "efficientnet-b4", "efficientnet-b5", "efficientnet-b6", "efficientnet-b7",
		"regnetx-400mf", "regnetx-600mf", "regnetx-800mf", "regnety-1.6gf", "repvgg-a0", "repvgg-b0", "resnest-50d",
		"shufflenetv2-1.0", "zennet-0.1ms", "zennet-0.3ms", "zennet-0.8ms",
	}
}

func TestZoo(t *testing.T) {
	oracle := make(map[string]map[string]string)
	for _, row := range readTable(t, "testdata/oracle.csv") {
		oracle[row["name"]] = row
	}
	infos := List()
	for _, info := range infos {
		t.Run(info.Name, func(t *testing.T) {
			n, err := New(info.Name, 0)
			if err != nil {
				t.Fatal(err)
			}
			cost, err := CostOf(n)
			if err != nil {
				t.Fatal(err)
			}
			if cost.Params != info.Params || cost.MACs != info.MACs {
				t.Errorf("List has %d params and %d MACs, CostOf %d and %d", info.Params, info.MACs, cost.Params, cost.MACs)
			}
			if last := cost.Layers[len(cost.Layers)-1].Output; !last.Equal(Shape{1, classes}) {
				t.Errorf("output has shape %v", last)
			}
			checkLayers(t, n, cost, readTable(t, filepath.Join("testdata", "layers", info.Name+".csv")))
			if !slices.Contains(withoutKeys(), info.Name) {
				checkKeys(t, n, filepath.Join("testdata", "keys", info.Name+".txt"))
			}
			if row, ok := oracle[info.Name]; ok {
				delete(oracle, info.Name)
				checkOracle(t, n, info, row)
			}
		})
	}
	for name := range oracle {
		t.Errorf("testdata/oracle.csv has %s, the zoo has not", name)
	}
}

func checkOracle(t *testing.T, n *Network, info Info, row map[string]string) {
	t.Helper()
	if want := number(t, row["params"]); info.Params != want {
		t.Errorf("%d params, want %d", info.Params, want)
	}
	if want := number(t, row["macs"]); info.MACs != want {
		t.Errorf("%d MACs, want %d", info.MACs, want)
	}
	if want := number(t, row["resolution"]); int64(info.Resolution) != want {
		t.Errorf("resolution %d, want %d", info.Resolution, want)
	}
	if row["params_bn_folded"] == "" {
		return
	}
	folded, err := Fold(n)
	if err != nil {
		t.Fatal(err)
	}
	cost, err := CostOf(folded)
	if err != nil {
		t.Fatal(err)
	}
	// The oracle counts a bias for every norm. Where the layer has one already, the
	// two become one.
	shared := int64(0)
	for _, node := range n.Nodes {
		if _, ok := node.Op.(BatchNorm); !ok || node.Inputs[0] == Image {
			continue
		}
		if conv, ok := n.Nodes[node.Inputs[0]].Op.(Conv); ok && conv.Bias {
			shared += int64(conv.Out)
		}
	}
	if want := number(t, row["params_bn_folded"]) - shared; cost.Params != want {
		t.Errorf("%d params with batch norms folded, want %d", cost.Params, want)
	}
}

// checkLayers compares convolutions and linear layers, in execution order.
func checkLayers(t *testing.T, n *Network, cost Cost, rows []map[string]string) {
	t.Helper()
	var got []string
	for i, node := range n.Nodes {
		l := cost.Layers[i]
		switch op := node.Op.(type) {
		case Conv:
			if op.PadW != op.PadH {
				t.Errorf("%s: the list tells one padding, not %d and %d", node.Name, op.PadH, op.PadW)
			}
			in := l.Inputs[0]
			got = append(got, fmt.Sprintf("%s conv %d>%d k%dx%d s%d p%d d%d g%d bias %d in %dx%d out %dx%d macs %d params %d",
				node.Name, op.In, op.Out, op.KernelH, op.KernelW, op.Stride, op.PadH, op.Dilation, op.Groups, btoi(op.Bias),
				in[2], in[3], l.Output[2], l.Output[3], l.MACs, l.Params))
		case Linear:
			got = append(got, fmt.Sprintf("%s linear %d>%d bias %d macs %d params %d", node.Name, op.In, op.Out, btoi(op.Bias), l.MACs, l.Params))
		}
	}
	var want []string
	for _, r := range rows {
		if r["type"] == "linear" {
			want = append(want, fmt.Sprintf("%s linear %s>%s bias %s macs %s params %s", r["name"], r["in_c"], r["out_c"], r["bias"], r["macs"], r["params"]))
			continue
		}
		want = append(want, fmt.Sprintf("%s conv %s>%s k%sx%s s%s p%s d%s g%s bias %s in %sx%s out %sx%s macs %s params %s",
			r["name"], r["in_c"], r["out_c"], r["kh"], r["kw"], r["stride"], r["padding"], r["dilation"], r["groups"], r["bias"],
			r["in_h"], r["in_w"], r["out_h"], r["out_w"], r["macs"], r["params"]))
	}
	compareLines(t, "layer", got, want)
}

// checkKeys compares the state-dict prefixes.
func checkKeys(t *testing.T, n *Network, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, node := range n.Nodes {
		if node.Weights != "" {
			got = append(got, node.Weights)
		}
	}
	compareLines(t, "key", got, strings.Fields(string(data)))
}

func compareLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("%s %d:\n got %s\nwant %s", what, i, got[i], want[i])
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d %ss, want %d", len(got), what, len(want))
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func readTable(t *testing.T, file string) []map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(bufio.NewReader(f))
	header, err := r.Read()
	if err != nil {
		t.Fatalf("read %s: %v", file, err)
	}
	var rows []map[string]string
	for {
		fields, err := r.Read()
		if err == io.EOF {
			return rows
		}
		if err != nil {
			t.Fatalf("read %s: %v", file, err)
		}
		row := make(map[string]string, len(header))
		for i, h := range header {
			row[h] = fields[i]
		}
		rows = append(rows, row)
	}
}

// TestGoldenNames keeps golden.json, which the engines' tests read, in step with
// the zoo.
func TestGoldenNames(t *testing.T) {
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden []struct {
		Name       string `json:"name"`
		Resolution int    `json:"resolution"`
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden) == 0 {
		t.Fatal("no golden outputs")
	}
	for _, g := range golden {
		info, err := Lookup(g.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Name != g.Name || info.Resolution != g.Resolution {
			t.Errorf("golden %s at %d: the zoo has %s at %d", g.Name, g.Resolution, info.Name, info.Resolution)
		}
	}
}

func TestNames(t *testing.T) {
	for given, want := range map[string]string{
		"genet-light": "genet-small",
		"GENet-Large": "genet-large",
		"resnet50":    "resnet-50",
	} {
		n, err := New(given, 0)
		if err != nil {
			t.Errorf("New(%q): %v", given, err)
		} else if n.Name != want {
			t.Errorf("New(%q) gives %s, want %s", given, n.Name, want)
		}
	}
	seen := make(map[string]bool)
	for _, info := range List() {
		if p := plain(info.Name); seen[p] {
			t.Errorf("two networks are called %s", p)
		} else {
			seen[p] = true
		}
		if (info.Top1 == nil) != (info.Top1Source == "") {
			t.Errorf("%s: an accuracy and its source come together", info.Name)
		}
	}
	for a, name := range aliases() {
		if seen[a] {
			t.Errorf("alias %s hides a network", a)
		}
		if !seen[plain(name)] {
			t.Errorf("alias %s leads to %s, which is not in the zoo", a, name)
		}
	}
}

func TestUnknownModel(t *testing.T) {
	for given, nearest := range map[string]string{
		"genet-normale": "genet-normal",
		"resnet":        "resnet-18",
		"efficentnetb0": "efficientnet-b0",
		"vgg":           "vgg-16",
		"mbv2-1.4":      "mobilenetv2-1.4",
	} {
		for _, call := range []func() error{
			func() error { _, err := New(given, 0); return err },
			func() error { _, err := Lookup(given); return err },
		} {
			err := call()
			var unknown *UnknownModelError
			if !errors.As(err, &unknown) {
				t.Errorf("%q: error %v, want an UnknownModelError", given, err)
				continue
			}
			if unknown.Name != given || len(unknown.Nearest) == 0 || unknown.Nearest[0] != nearest {
				t.Errorf("%q: %+v, want %s first", given, unknown, nearest)
			}
			for _, word := range []string{given, nearest, "genbench list models"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q: error %q does not say %q", given, err, word)
				}
			}
		}
	}
}

func TestNearest(t *testing.T) {
	candidates := []string{"reference", "onnxruntime", "cudnn", "tensorrt"}
	for given, want := range map[string]string{"cuDNN8": "cudnn", "trt": "tensorrt", "onnx": "onnxruntime", "Reference": "reference"} {
		if got := Nearest(given, candidates); got[0] != want {
			t.Errorf("Nearest(%q) = %v, want %s first", given, got, want)
		}
	}
	for given, want := range map[string]string{"cudn": "cudnn", "trt": "tensorrt", "yaml": "", "": "", "openvino": ""} {
		if got, ok := Likely(given, candidates); got != want || ok != (want != "") {
			t.Errorf("Likely(%q) = %q, %v; want %q", given, got, ok, want)
		}
	}
	if got := Nearest("x", nil); len(got) != 0 {
		t.Errorf("Nearest of nothing = %v", got)
	}
	if !slices.Equal(candidates, []string{"reference", "onnxruntime", "cudnn", "tensorrt"}) {
		t.Errorf("Nearest reordered its input: %v", candidates)
	}
}

// Every network takes its smallest resolution and says what it is when asked for
// less, for nothing sensible, or for far too much.
func TestResolutions(t *testing.T) {
	for _, info := range List() {
		for _, absurd := range []int{-1, 1, maxResolution + 1} {
			_, err := New(info.Name, absurd)
			var refused *ResolutionError
			if !errors.As(err, &refused) {
				t.Errorf("%s at %d: error %v, want a ResolutionError", info.Name, absurd, err)
				continue
			}
			if !strings.Contains(err.Error(), strconv.Itoa(refused.Smallest)) {
				t.Errorf("%s at %d: %q does not say the smallest, %d", info.Name, absurd, err, refused.Smallest)
			}
			checkParams(t, info, refused.Smallest)
			if _, err := New(info.Name, refused.Smallest-1); err == nil {
				t.Errorf("%s takes %d, below its smallest", info.Name, refused.Smallest-1)
			}
		}
	}
	var refused *ResolutionError
	if _, err := New("vgg-16", 240); err != nil {
		t.Errorf("vgg-16 at 240: %v", err)
	}
	if _, err := New("vgg-16", 300); !errors.As(err, &refused) || refused.Smallest != 224 {
		t.Errorf("vgg-16 at 300: %v, want the smallest to be 224", err)
	}
	for _, info := range List() {
		checkParams(t, info, 448)
	}
}

// checkParams builds a network at another resolution, which changes no weight.
func checkParams(t *testing.T, info Info, resolution int) {
	t.Helper()
	n, err := New(info.Name, resolution)
	if err != nil {
		t.Error(err)
		return
	}
	cost, err := CostOf(n)
	if err != nil {
		t.Error(err)
	} else if cost.Params != info.Params || n.Resolution != resolution {
		t.Errorf("%s at %d: %d params at resolution %d, want %d", info.Name, resolution, cost.Params, n.Resolution, info.Params)
	}
}

func BenchmarkList(b *testing.B) {
	for b.Loop() {
		List()
	}
}
