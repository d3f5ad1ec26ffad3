package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"genbench/models"
)

// A shownFile is what `genbench show` says about an ONNX file.
type shownFile struct {
	Path     string       `json:"path"`
	SHA256   string       `json:"sha256"`
	IR       int64        `json:"ir"`
	Opset    int64        `json:"opset"`
	Producer string       `json:"producer"`
	Nodes    int          `json:"nodes"`
	Domains  []string     `json:"domains,omitempty"`  // of operators that are not ONNX's own
	External []string     `json:"external,omitempty"` // files with the rest of the weights
	Inputs   []shownValue `json:"inputs"`
	Outputs  []shownValue `json:"outputs"`
	models.FileCost
	// Unsupported says why reference does not run the file; nil where it does.
	Unsupported *string `json:"unsupported"`
}

// A shownValue is an input or an output.
type shownValue struct {
	Name  string       `json:"name"`
	Type  string       `json:"type"`
	Shape []string     `json:"shape"`        // as the file has it, names included
	At    models.Shape `json:"at,omitempty"` // as it is counted; only for inputs
}

func (a *app) showFile(path string, shapeFlags []string, asJSON bool) (err error) {
	given, err := models.ParseShapes(shapeFlags)
	if err != nil {
		return usage(fmt.Errorf("--shape: %w", err))
	}
	f, err := models.OpenONNX(path)
	if err != nil {
		return usage(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	shown, err := describeFile(f)
	if err != nil {
		return err
	}
	shapes, err := f.Resolve(0, given)
	if err != nil {
		if !asJSON {
			a.writeFileHead(shown)
		}
		return usage(err)
	}
	for i := range shown.Inputs {
		shown.Inputs[i].At = shapes[shown.Inputs[i].Name]
	}
	if shown.FileCost, err = f.Cost(shapes); err != nil {
		return err
	}
	if _, err := f.Network(shapes); err != nil {
		var unsupported *models.UnsupportedError
		if !errors.As(err, &unsupported) {
			return err
		}
		why := err.Error()
		shown.Unsupported = &why
	}
	if asJSON {
		return writeJSON(a.stdout, shown)
	}
	return a.writeFile(shown)
}

func describeFile(f *models.File) (shownFile, error) {
	s := shownFile{Path: f.Path, IR: f.IR, Opset: f.Opset(), Producer: f.Producer, Nodes: f.Nodes(), External: f.External}
	var err error
	if s.SHA256, err = f.SHA256(); err != nil {
		return s, err
	}
	for _, o := range f.Opsets {
		if o.Domain != "" {
			s.Domains = append(s.Domains, o.Domain)
		}
	}
	values := func(list []models.ValueInfo) []shownValue {
		shown := make([]shownValue, len(list))
		for i, v := range list {
			shown[i] = shownValue{Name: v.Name, Type: v.Elem.String()}
			for _, d := range v.Shape {
				shown[i].Shape = append(shown[i].Shape, d.String())
			}
		}
		return shown
	}
	s.Inputs, s.Outputs = values(f.Inputs), values(f.Outputs)
	return s, nil
}

func (a *app) writeFileHead(s shownFile) {
	fmt.Fprintf(a.stdout, "%s: ONNX IR %d, opset %d", s.Path, s.IR, s.Opset)
	if s.Producer != "" {
		fmt.Fprintf(a.stdout, ", written by %s", printable(s.Producer))
	}
	fmt.Fprintf(a.stdout, ", %d nodes\nsha256 %s\n", s.Nodes, s.SHA256)
	if len(s.Domains) > 0 {
		fmt.Fprintf(a.stdout, "operators of %s too\n", printable(strings.Join(s.Domains, ", ")))
	}
	if len(s.External) > 0 {
		fmt.Fprintf(a.stdout, "weights in %s too\n", printable(strings.Join(s.External, ", ")))
	}
	line := func(what string, v shownValue) {
		shape := strings.Join(v.Shape, "x")
		if v.Shape == nil {
			shape = "of any shape"
		}
		fmt.Fprintf(a.stdout, "%s %s: %s %s", what, printable(v.Name), v.Type, shape)
		if at := v.At.String(); v.At != nil && at != shape {
			fmt.Fprintf(a.stdout, ", counted at %s", at)
		}
		fmt.Fprintln(a.stdout)
	}
	for _, v := range s.Inputs {
		line("input", v)
	}
	for _, v := range s.Outputs {
		line("output", v)
	}
}

func (a *app) writeFile(s shownFile) error {
	a.writeFileHead(s)
	macs := func(n *int64) string {
		if n == nil {
			return "?"
		}
		return count(*n)
	}
	fmt.Fprintf(a.stdout, "%s parameters, %s MACs per inference\n\n", count(s.Params), macs(s.MACs))
	rows := make([][]string, len(s.Layers))
	for i, l := range s.Layers {
		in := make([]string, len(l.Inputs))
		for k, shape := range l.Inputs {
			in[k] = known(shape)
		}
		rows[i] = []string{l.Name, l.Op, strings.Join(in, " "), known(l.Output), count(l.Params), macs(l.MACs)}
	}
	layers := sheet{header: []string{"layer", "op", "in", "out", "params", "MACs"}, rows: rows, numbers: 4,
		footer: []string{"total", "", "", "", count(s.Params), macs(s.MACs)}}
	if err := layers.print(a.stdout, a.width(), "", "in", "op"); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	for _, why := range s.Unknown {
		fmt.Fprintf(a.stdout, "not counted: %s\n", why)
	}
	if s.Unsupported != nil {
		fmt.Fprintf(a.stdout, "reference does not run it: %s\n", *s.Unsupported)
	} else {
		fmt.Fprintln(a.stdout, "reference runs it: all operators are known")
	}
	return nil
}

// printable removes from a file's text what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// known writes a shape that may not be known.
func known(s models.Shape) string {
	if s == nil {
		return "?"
	}
	return s.String()
}
