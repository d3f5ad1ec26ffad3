package bench

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"genbench/hardware"
	"genbench/models"
)

// A Suite is a grid with a name, and what its author wants of the protocol.
type Suite struct {
	Name string `json:"name" yaml:"name"`
	Doc  string `json:"doc" yaml:"doc"`
	Grid Grid   `json:"grid" yaml:"grid"`
	// Profile is the design to take; empty leaves the choice to the caller.
	Profile string `json:"profile,omitempty" yaml:"profile"`
	// Threads an inference may use; 0 leaves the choice to the caller.
	Threads int `json:"threads,omitempty" yaml:"threads"`
	// Clocks is what to do about those of a GPU; empty leaves the choice to the caller.
	Clocks ClockPolicy `json:"clocks,omitempty" yaml:"clocks"`
	// Seed of the random order; nil draws one.
	Seed *uint64 `json:"seed,omitempty" yaml:"seed"`

	file      string   // path that it was read from; empty for one that is built in
	overrides ast.Node // numbers of the protocol that the file replaces; nil without
}

// Suites lists the grids that `--suite` takes by name. An empty list of engines
// stands for every engine that is available and not the reference.
func Suites() []Suite {
	return []Suite{
		{
			Name: "default",
			Doc:  "GENet and the baselines it was designed against, at a latency-bound and a throughput-bound batch",
			Grid: Grid{
				Models:     []string{"genet-small", "genet-normal", "genet-large", "resnet-18", "resnet-50", "mobilenetv2-1.0", "efficientnet-b0"},
				Precisions: []string{"fp32"},
				Batches:    []int{1, 8},
			},
		},
		// The networks of Table 3 and Figure 5 of arXiv:2006.14090, as its authors'
		// repository shows them (misc/genet_speedup_tab.jpg, misc/genet_acc_speed_curve.jpg).
		// Captions: "V100 FP16 B = 64 and T4 FP16/INT8 B = 32". The table's DNANet-2a
		// has the accuracy and the place in the figure of DFNet-2a. Which of the
		// mobile ones MnasNet was is not said; the repository's own list of
		// baselines has B1. Every network runs at its own resolution, as there.
		{
			Name: "paper",
			Doc:  "what GENet's paper timed: Table 3 and Figure 5 of arXiv:2006.14090, fp16 at batch 64, fp16 and int8 at batch 32",
			Grid: Grid{
				Models: []string{
					"genet-small", "genet-normal", "genet-large",
					"resnet-18", "resnet-34", "resnet-50", "resnet-101", "resnet-152",
					"efficientnet-b0", "efficientnet-b1", "efficientnet-b2", "efficientnet-b3",
					"mobilenetv2-1.0", "mobilenetv2-1.4", "mnasnet-1.0",
					"dna-a", "dna-b", "dna-c", "dna-d",
					"dfnet-2", "dfnet-2a",
					"ofa-v100-9ms", "ofa-v100-11ms", "ofa-389m", "ofa-482m", "ofa-595m",
					"regnety-200mf", "regnety-400mf", "regnety-600mf", "regnety-800mf",
				},
				Precisions: []string{"fp16", "int8"},
				Batches:    []int{32, 64},
			},
		},
	}
}

// SuiteNamed finds a suite that is built in.
func SuiteNamed(name string) (Suite, error) {
	var names []string
	for _, s := range Suites() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Suite{}, fmt.Errorf("unknown suite %q: want one of %v", name, names)
}

// A suiteFile is what a suite file may hold.
type suiteFile struct {
	Suite    `yaml:",inline"`
	Protocol ast.Node `yaml:"protocol"`
}

// ParseSuite reads a suite file: YAML with the keys name, doc, grid, profile,
// threads, clocks, seed and protocol, where grid has the axes of Grid and protocol the
// numbers of Protocol to replace, with durations such as 500ms. A key that is not
// known is an error with its line and the nearest key that is.
func ParseSuite(text []byte, path string) (Suite, error) {
	var f suiteFile
	if err := decode(func() error { return yaml.UnmarshalWithOptions(text, &f, yaml.Strict()) }); err != nil {
		return Suite{}, suiteError(path, err)
	}
	s := f.Suite
	s.file, s.overrides = path, f.Protocol
	if s.Name == "" {
		return Suite{}, fmt.Errorf("read suite %s: it has no name", path)
	}
	if len(s.Grid.Models) == 0 || len(s.Grid.Precisions) == 0 || len(s.Grid.Batches) == 0 {
		return Suite{}, fmt.Errorf("read suite %s: its grid needs models, precisions and batches", path)
	}
	if s.Clocks != "" {
		if _, err := ParseClockPolicy(string(s.Clocks)); err != nil {
			return Suite{}, fmt.Errorf("read suite %s: clocks: %w", path, err)
		}
	}
	profile := s.Profile
	if profile == "" {
		profile = Profiles()[0].Name
	}
	_, err := s.Protocol(profile, hardware.Host)
	return s, err
}

// Protocol gives the numbers of a profile, with those that the suite's file holds in
// their place.
func (s Suite) Protocol(profile string, kind hardware.DeviceKind) (Protocol, error) {
	p, err := protocolFor(profile, kind)
	if err != nil {
		if s.file != "" {
			err = fmt.Errorf("read suite %s: %w", s.file, err)
		}
		return p, err
	}
	if s.overrides == nil {
		return p, nil
	}
	if err := decode(func() error { return yaml.NodeToValue(s.overrides, &p, yaml.Strict()) }); err != nil {
		return p, suiteError(s.file, err)
	}
	if err := p.Check(); err != nil {
		return p, fmt.Errorf("read suite %s: protocol: %w", s.file, err)
	}
	return p, nil
}

// decode keeps a panic of the YAML library from ending the program: go-yaml 1.19.2
// dereferences nil where a tag such as !x stands before a list that is not there
// (testdata/fuzz/FuzzSuite).
func decode(by func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("this YAML cannot be read: %v", p)
		}
	}()
	return by()
}

// suiteError says where in a file something is wrong.
func suiteError(path string, err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return fmt.Errorf("read suite %s: %w", path, err)
	}
	message := at.GetMessage()
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) {
		key := at.GetToken().Value
		message = fmt.Sprintf("unknown key %q", key)
		if near := models.Nearest(key, suiteKeys()); len(near) > 0 {
			message += ": did you mean " + strings.Join(near, ", ") + "?"
		}
	}
	return fmt.Errorf("read suite %s: line %d: %s", path, at.GetToken().Position.Line, message)
}

// suiteKeys lists every key that a suite file may hold.
func suiteKeys() []string {
	keys := []string{"protocol"}
	for _, t := range []reflect.Type{reflect.TypeFor[Suite](), reflect.TypeFor[Grid](), reflect.TypeFor[Protocol]()} {
		for i := range t.NumField() {
			if key := t.Field(i).Tag.Get("yaml"); key != "" && key != "-" {
				keys = append(keys, key)
			}
		}
	}
	return keys
}
