package enginetest

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"genbench/engines"
	"genbench/engines/reference"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A defect turns the reference into an engine that breaks the contract in one way.
type defect struct {
	check   string // that must find it
	what    string
	want    string // of what it finds
	driver  func(*engines.Driver)
	engine  func(engines.Engine) engines.Engine
	session func(engines.Session, hardware.Stream) engines.Session
	stream  func(hardware.Stream) hardware.Stream // of the rig; nil for the host's
}

// apply gives the broken engine's driver.
func (d defect) apply() engines.Driver {
	driver := reference.Driver()
	if d.driver != nil {
		d.driver(&driver)
	}
	open := driver.Open
	driver.Open = func(ctx context.Context, device hardware.Device) (engines.Engine, error) {
		e, err := open(ctx, device)
		if err != nil {
			return nil, err
		}
		if d.session != nil {
			e = sessionsOf{e, d.session}
		}
		if d.engine != nil {
			e = d.engine(e)
		}
		return e, nil
	}
	return driver
}

type sessionsOf struct {
	engines.Engine
	wrap func(engines.Session, hardware.Stream) engines.Session
}

func (e sessionsOf) Build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	s, err := e.Engine.Build(ctx, n, stream, o)
	if err != nil {
		return nil, err
	}
	return e.wrap(s, stream), nil
}

// building replaces an engine's Build.
type building struct {
	engines.Engine
	build func(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error)
}

func (e building) Build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	return e.build(ctx, n, stream, o)
}

// miscompiled is an engine that takes one operator for another.
func miscompiled(swap func(models.Op) models.Op) func(engines.Engine) engines.Engine {
	return func(e engines.Engine) engines.Engine {
		return building{e, func(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
			other := *n
			other.Nodes = slices.Clone(n.Nodes)
			for i := range other.Nodes {
				other.Nodes[i].Op = swap(other.Nodes[i].Op)
			}
			return e.Build(ctx, &other, stream, o)
		}}
	}
}

// output replaces what a session gives.
type output struct {
	engines.Session
	give func() (models.Tensor, error)
}

func (s output) Output() (models.Tensor, error) { return s.give() }

type supporting struct {
	engines.Engine
	supports func(engines.BuildOptions) error
}

func (e supporting) Supports(o engines.BuildOptions) error { return e.supports(o) }

type informed struct {
	engines.Engine
	info engines.Info
}

func (e informed) Info() engines.Info { return e.info }

type taking struct {
	engines.Session
	set func(models.Tensor) error
}

func (s taking) SetInput(t models.Tensor) error { return s.set(t) }

type layering struct {
	engines.Session
	time func(context.Context, int) ([]engines.Layer, error)
}

func (s layering) TimeLayers(ctx context.Context, n int) ([]engines.Layer, error) {
	return s.time(ctx, n)
}

type closing struct {
	engines.Session
	close func() error
}

func (s closing) Close() error { return s.close() }

type executing struct {
	engines.Session
	ran engines.Execution
}

func (s executing) Executed() engines.Execution { return s.ran }

// hidden does the work when its output is read.
type hidden struct {
	engines.Session
	stream hardware.Stream
	due    *bool
}

func (s hidden) Call() native.Call { *s.due = true; return native.Nothing() }

func (s hidden) Output() (models.Tensor, error) {
	if *s.due {
		*s.due = false
		for range 5 {
			if err := s.stream.Time(s.Session.Call(), make([]hardware.Sample, 1)); err != nil {
				return models.Tensor{}, err
			}
		}
	}
	return s.Session.Output()
}

// late does the work in a goroutine some time after its call has returned. The
// lock keeps the fake itself free of data races.
type late struct {
	engines.Session
	stream hardware.Stream
	lock   *sync.Mutex
	work   *sync.WaitGroup
}

func (s late) Call() native.Call {
	s.work.Go(func() {
		time.Sleep(20 * time.Millisecond)
		s.lock.Lock()
		defer s.lock.Unlock()
		// A failure shows as a wrong output, which is what is looked for anyhow.
		_ = s.stream.Time(s.Session.Call(), make([]hardware.Sample, 1))
	})
	return native.Nothing()
}

func (s late) SetInput(t models.Tensor) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.Session.SetInput(t)
}

func (s late) Output() (models.Tensor, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.Session.Output()
}

func (s late) Close() error {
	s.work.Wait()
	return s.Session.Close()
}

// wandering sends every output through the session that ran last.
type wandering struct {
	engines.Session
	last *engines.Session
}

func (s wandering) Call() native.Call              { *s.last = s.Session; return s.Session.Call() }
func (s wandering) Output() (models.Tensor, error) { return (*s.last).Output() }

// dying is an engine whose Close breaks all of its kind.
type dying struct {
	engines.Engine
	dead *bool
}

func (e dying) Build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	if *e.dead {
		return nil, errors.New("the library is gone")
	}
	return e.Engine.Build(ctx, n, stream, o)
}

func (e dying) Close() error { *e.dead = true; return e.Engine.Close() }

func defects() []defect {
	disturbed := func(change func([]float32)) func(engines.Session, hardware.Stream) engines.Session {
		return func(s engines.Session, _ hardware.Stream) engines.Session {
			return output{s, func() (models.Tensor, error) {
				t, err := s.Output()
				if err == nil {
					change(t.Data)
				}
				return t, err
			}}
		}
	}
	swapped := func(what, want string, swap func(models.Op) models.Op) defect {
		return defect{check: "operators", what: what, want: want, engine: miscompiled(swap)}
	}
	count := 0
	dead := false
	var last engines.Session
	return []defect{
		{check: "info", what: "another name", want: `gives an engine named "someone"`, engine: func(e engines.Engine) engines.Engine {
			return informed{e, engines.Info{Name: "someone", Version: "1"}}
		}},
		{check: "info", what: "no version", want: `version ""`, engine: func(e engines.Engine) engines.Engine {
			return informed{e, engines.Info{Name: "reference"}}
		}},
		{check: "info", what: "another file's hash", want: "has sha256", engine: func(e engines.Engine) engines.Engine {
			self, _ := os.Executable()
			return informed{e, engines.Info{Name: "reference", Version: "1", Library: self, SHA256: strings.Repeat("0", 64)}}
		}},
		{check: "foreign device", what: "takes any device", want: "it opens on a device of another kind", driver: func(d *engines.Driver) {
			open := d.Open
			d.Open = func(ctx context.Context, _ hardware.Device) (engines.Engine, error) {
				host, err := hardware.NewHost()
				if err != nil {
					return nil, err
				}
				return open(ctx, host)
			}
		}},
		{check: "operators", what: "one element off", want: "conv 1x1, fp32, batch 1: element 440 of 1x9x7x7", session: disturbed(func(d []float32) { d[len(d)-1] += 0.01 })},
		{check: "operators", what: "a NaN", want: "is NaN", session: disturbed(func(d []float32) { d[0] = float32(math.NaN()) })},
		{check: "blocks", what: "one element off", want: "basic, fp32, batch 1: element 0", session: disturbed(func(d []float32) { d[0] += 0.01 })},
		{check: "miniatures", what: "one element off", want: "mini-resnet, fp32, batch 1: element 0", session: disturbed(func(d []float32) { d[0] += 0.01 })},
		swapped("averages over padding", "avgpool 3 counting the input, fp32", func(op models.Op) models.Op {
			if p, ok := op.(models.AvgPool); ok {
				p.CountPad = !p.CountPad
				return p
			}
			return op
		}),
		swapped("relu6 without its bend", "relu6, fp32", func(op models.Op) models.Op {
			if op == (models.Activation{Func: models.ReLU6}) {
				return models.Activation{Func: models.ReLU}
			}
			return op
		}),
		swapped("shuffles the other way round", "shuffle, fp32", func(op models.Op) models.Op {
			if op == (models.Shuffle{Groups: 3}) {
				return models.Shuffle{Groups: 4}
			}
			return op
		}),
		swapped("slices from the front", "slice, fp32", func(op models.Op) models.Op {
			if s, ok := op.(models.Slice); ok {
				return models.Slice{From: 0, To: s.To - s.From}
			}
			return op
		}),
		swapped("fixed epsilon", "batchnorm, fp32", func(op models.Op) models.Op {
			if b, ok := op.(models.BatchNorm); ok {
				b.Epsilon = 1e-5
				return b
			}
			return op
		}),
		{check: "refusals", what: "supports what it cannot build", want: "it supports {Precision:fp7", engine: func(e engines.Engine) engines.Engine {
			return supporting{e, func(engines.BuildOptions) error { return nil }}
		}},
		{check: "refusals", what: "refuses without a reason", want: "without a reason", engine: func(e engines.Engine) engines.Engine {
			return supporting{e, func(o engines.BuildOptions) error {
				if e.Supports(o) != nil {
					return errors.New("")
				}
				return nil
			}}
		}},
		{check: "refusals", what: "builds what it refuses", want: "and builds it", engine: func(e engines.Engine) engines.Engine {
			return building{e, func(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
				return e.Build(ctx, n, stream, options(models.FP32, 1))
			}}
		}},
		{check: "repeatable", what: "flickers in the last bit", want: "and then", session: disturbed(func(d []float32) {
			if count++; count%4 == 0 {
				d[0] = math.Nextafter32(d[0], 100)
			}
		})},
		{check: "two sessions", what: "sessions share their output", want: "session 0 beside others", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			return wandering{s, &last}
		}},
		{check: "output is a copy", what: "hands out its own memory", want: "changed the output of an earlier one", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			var own models.Tensor
			return output{s, func() (models.Tensor, error) {
				t, err := s.Output()
				if own.Data == nil {
					own = t
				}
				copy(own.Data, t.Data)
				return own, err
			}}
		}},
		{check: "output is a copy", what: "ignores its input", want: "two inputs give one output", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			return taking{s, func(models.Tensor) error { return nil }}
		}},
		{check: "input shape", what: "takes any shape", want: "it takes an input of shape", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			return taking{s, func(models.Tensor) error { return nil }}
		}},
		{check: "input shape", what: "does not say which", want: "the error must name 1x3x32x32 and 3x3x32x32", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			return taking{s, func(t models.Tensor) error {
				if s.SetInput(t) != nil {
					return errors.New("wrong shape")
				}
				return nil
			}}
		}},
		{check: "input shape", what: "trusts the shape", want: "fewer elements than its shape", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			return taking{s, func(t models.Tensor) error {
				t.Data = slices.Grow(t.Data, t.Shape.Elements())[:t.Shape.Elements()]
				return s.SetInput(t)
			}}
		}},
		{check: "errors name the node", what: "says only that it failed", want: "the error must name stage2.a.conv", engine: func(e engines.Engine) engines.Engine {
			return building{e, func(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
				s, err := e.Build(ctx, n, stream, o)
				if err != nil {
					return nil, errors.New("build failed")
				}
				return s, nil
			}}
		}},
		{check: "cancelled build", what: "does not listen", want: "it builds under a cancelled context", engine: func(e engines.Engine) engines.Engine {
			return building{e, func(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
				return e.Build(context.WithoutCancel(ctx), n, stream, o)
			}}
		}},
		{check: "executed", what: "ran another precision", want: "built for fp32, executed map[fp16:3]", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			return executing{s, engines.Execution{Precisions: map[string]int{"fp16": 3}}}
		}},
		{check: "executed", what: "fell back", want: "nodes left the device", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			return executing{s, engines.Execution{Fallback: []string{"stem.conv"}}}
		}},
		{check: "layers", what: "one time for all inferences", want: "has 1 times, want one for each", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			return layering{s, func(ctx context.Context, _ int) ([]engines.Layer, error) {
				return s.(engines.LayerTimer).TimeLayers(ctx, 1)
			}}
		}},
		{check: "layers", what: "no time at all", want: "took no time", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			return layering{s, func(_ context.Context, n int) ([]engines.Layer, error) {
				return []engines.Layer{{Name: "all", DeviceNS: make([]int64, n)}}, nil
			}}
		}},
		{check: "layers", what: "another input after them", want: "timing the layers changed the output", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			timed := false
			return layering{taking{s, func(t models.Tensor) error {
				if timed {
					t = models.Tensor{Shape: t.Shape, Data: make([]float32, len(t.Data))}
				}
				return s.SetInput(t)
			}}, func(ctx context.Context, n int) ([]engines.Layer, error) {
				timed = true
				return s.(engines.LayerTimer).TimeLayers(ctx, n)
			}}
		}},
		{check: "layers", what: "does not listen", want: "a cancelled context gives", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			return layering{s, func(ctx context.Context, n int) ([]engines.Layer, error) {
				return s.(engines.LayerTimer).TimeLayers(context.WithoutCancel(ctx), n)
			}}
		}},
		{check: "closed session", what: "cannot close twice", want: "closed a second time", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			closed := false
			return closing{s, func() error {
				if closed {
					return errors.New("already closed")
				}
				closed = true
				return s.Close()
			}}
		}},
		{check: "closed session", what: "lives on", want: "a closed session takes an input", session: func(s engines.Session, _ hardware.Stream) engines.Session {
			return closing{s, func() error { return nil }}
		}},
		{check: "no deferred work", what: "works while the output is read", want: "in reading the output", session: func(s engines.Session, stream hardware.Stream) engines.Session {
			return hidden{s, stream, new(bool)}
		}},
		{check: "no deferred work", what: "works after the call", want: "the output right after inference", session: func(s engines.Session, stream hardware.Stream) engines.Session {
			return late{s, stream, new(sync.Mutex), new(sync.WaitGroup)}
		}},
		{
			check: "submitted in every way", what: "its copies are the one input", want: "rotated: call 1 of 2",
			stream:  func(s hardware.Stream) hardware.Stream { return events{s} },
			session: func(s engines.Session, _ hardware.Stream) engines.Session { return unrotated{s} },
		},
		{
			check: "submitted in every way", what: "its input lies elsewhere", want: "copied: input",
			stream:  func(s hardware.Stream) hardware.Stream { return events{s} },
			session: func(s engines.Session, _ hardware.Stream) engines.Session { return displaced{s} },
		},
		{check: "reopened", what: "the second takes the first along", want: "after the second engine closed", engine: func(e engines.Engine) engines.Engine {
			return dying{e, &dead}
		}},
	}
}

// An events is a host's stream that passes for a GPU's: what is recorded is made anew.
type events struct{ hardware.Stream }

func (e events) TimeGroups(c native.Call, _ int, s []hardware.Sample) error { return e.Time(c, s) }
func (events) Capture(c native.Call) (hardware.Graph, error)                { return again{c}, nil }
func (events) FlushL2(bool) error                                           { return nil }
func (events) Hold(bool) error                                              { return nil }
func (events) Transfer(_, _ []hardware.Memory) (hardware.Transfer, error) {
	return elsewhere{}, nil
}
func (events) CacheBytes() int64 { return 1 }
func (events) MeterClock() (func() (float64, error), error) {
	return nil, errors.New("a host has no such clock")
}

type again struct{ call native.Call }

func (a again) Call() native.Call { return a.call }
func (again) Explain() error      { return nil }
func (again) Nodes() int          { return 1 }
func (again) Close() error        { return nil }

// An elsewhere copies between places that no session reads or writes.
type elsewhere struct{}

func (elsewhere) In() native.Call                  { return native.Nothing() }
func (elsewhere) Out() native.Call                 { return native.Nothing() }
func (elsewhere) Around(c native.Call) native.Call { return c }
func (elsewhere) Explain() error                   { return nil }
func (elsewhere) Close() error                     { return nil }

// A displaced tells of such places.
type displaced struct{ engines.Session }

func (displaced) Resident() (inputs, outputs []hardware.Memory) { return nil, nil }

// An unrotated gives its own call for every copy of its input.
type unrotated struct{ engines.Session }

func (u unrotated) Rotate(int64) ([]native.Call, error) {
	return []native.Call{u.Call(), u.Call()}, nil
}

// openRig opens an engine on the host as the suite does.
func openRig(t *testing.T, d engines.Driver) *rig {
	t.Helper()
	device, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, device)
	engine, err := d.Open(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	return newRig(t, d, device, engine)
}

func TestDefectsAreFound(t *testing.T) {
	found := map[string]bool{}
	for _, d := range defects() {
		t.Run(d.check+": "+d.what, func(t *testing.T) {
			r := openRig(t, d.apply())
			if d.stream != nil {
				r.stream = d.stream(r.stream)
			}
			all := checks()
			at := slices.IndexFunc(all, func(c check) bool { return c.name == d.check })
			if at < 0 {
				t.Fatalf("there is no check %q", d.check)
			}
			if err := all[at].run(r); err == nil || !strings.Contains(err.Error(), d.want) {
				t.Fatalf("found %v, want %q", err, d.want)
			}
		})
		found[d.check] = true
	}
	for _, c := range checks() {
		if !found[c.name] {
			t.Errorf("check %q is not shown to find anything", c.name)
		}
		t.Run(c.name+": no defect", func(t *testing.T) {
			if err := c.run(openRig(t, defect{}.apply())); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestEveryOperatorHasACase reads the operators from their source: they are the
// types with a method infer.
func TestEveryOperatorHasACase(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "models", "ops.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{}
	for _, c := range Operators() {
		last := c.Network.Nodes[len(c.Network.Nodes)-1]
		covered[reflect.TypeOf(last.Op).Name()] = true
	}
	found := 0
	for _, d := range file.Decls {
		method, ok := d.(*ast.FuncDecl)
		if !ok || method.Recv == nil || method.Name.Name != "infer" {
			continue
		}
		found++
		if name := method.Recv.List[0].Type.(*ast.Ident).Name; !covered[name] {
			t.Errorf("no case ends in operator %s", name)
		}
	}
	if found < len(covered) {
		t.Errorf("found %d operators, the cases have %d", found, len(covered))
	}
}

func TestGoldenFindsAWrongNetwork(t *testing.T) {
	r := openRig(t, reference.Driver())
	goldens, err := readGoldens()
	if err != nil {
		t.Fatal(err)
	}
	g := goldens[slices.IndexFunc(goldens, func(g golden) bool { return g.Name == "mobilenetv2-1.0" })]
	if err := checkGolden(r, g); err != nil {
		t.Fatal(err)
	}
	change := map[string]func(*golden){
		"logit 7":     func(g *golden) { g.Logits = slices.Clone(g.Logits); g.Logits[7] += 2e-4 * g.L2 / math.Sqrt(1000) },
		"the sum":     func(g *golden) { g.Sum += 0.2 * g.L2 / math.Sqrt(1000) },
		"the norm":    func(g *golden) { g.L2 *= 1.001 },
		"the largest": func(g *golden) { g.ArgMax++ },
	}
	for word, spoil := range change {
		other := g
		spoil(&other)
		if err := checkGolden(r, other); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s changed: got %v", word, err)
		}
	}
}

func TestUnavailableMustTell(t *testing.T) {
	d := engines.Driver{Name: "x"}
	whole := engines.UnavailableError{Engine: "x", Missing: "libx.so", Looked: []string{"here"}, Hint: "do this"}
	if err := judgeUnavailable(d, fmt.Errorf("open: %w", &whole)); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*engines.UnavailableError){
		"engine":  func(e *engines.UnavailableError) { e.Engine = "y" },
		"missing": func(e *engines.UnavailableError) { e.Missing = "" },
		"looked":  func(e *engines.UnavailableError) { e.Looked = nil },
		"hint":    func(e *engines.UnavailableError) { e.Hint = "" },
	} {
		part := whole
		spoil(&part)
		if judgeUnavailable(d, &part) == nil {
			t.Errorf("an error without %s passes", name)
		}
	}
	if judgeUnavailable(d, errors.New("no")) == nil {
		t.Error("any error passes")
	}
}

func TestCompare(t *testing.T) {
	want := models.Tensor{Shape: models.Shape{1, 4}, Data: []float32{3, -3, 3, -3}}
	for _, c := range []struct {
		got  models.Tensor
		pass bool
	}{
		{models.Tensor{Shape: models.Shape{1, 4}, Data: []float32{3.02, -3, 3, -3}}, true},
		{models.Tensor{Shape: models.Shape{1, 4}, Data: []float32{3, -3, 3, -3.04}}, false},
		{models.Tensor{Shape: models.Shape{4, 1}, Data: []float32{3, -3, 3, -3}}, false},
		{models.Tensor{Shape: models.Shape{1, 4}, Data: []float32{3, -3, 3}}, false},
		{models.Tensor{Shape: models.Shape{1, 4}, Data: []float32{3, -3, float32(math.Inf(1)), -3}}, false},
		{models.Tensor{Shape: models.Shape{1, 4}, Data: []float32{3, -3, 3, float32(math.NaN())}}, false},
	} {
		if err := compare(c.got, want, 0.01); (err == nil) != c.pass {
			t.Errorf("%v: %v", c.got, err)
		}
	}
	if compare(want, models.Tensor{Shape: want.Shape, Data: make([]float32, 4)}, 0.01) == nil {
		t.Error("zeros serve as a yardstick")
	}
}
