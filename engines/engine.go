// Package engines is the contract between genbench and an inference library.
// An adapter turns a network into a Session whose one C function submits one
// inference; genbench alone calls it, times it and decides what it means.
package engines

import (
	"context"
	"fmt"
	"strings"

	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A Driver knows how to open one engine. It is data: making one has no effect,
// and engines/all holds the only list.
type Driver struct {
	Name string // as in --engines
	Doc  string // one line for `genbench list engines`
	// Device is the kind of device the engine runs on.
	Device hardware.DeviceKind
	// Reference marks an engine that exists to check others: correct, not fast.
	// It runs only when asked for by name, and its latencies carry a warning.
	Reference bool
	// Library says how another library of the engine is named and where it is kept; the
	// zero value is for an engine without one.
	Library Library
	// Open finds the library and starts it. Where it is not installed the error
	// is an *UnavailableError.
	Open func(context.Context, hardware.Device) (Engine, error)
}

// A Library is where the vendor's library of an engine is named and kept.
type Library struct {
	Env    string // the environment variable that names its file
	Folder string // in genbench's cache directory, with a folder for every version
	Files  string // pattern of the file's name, as in path.Match
}

// An Engine is an opened inference library. It may be used from one goroutine at
// a time; its owner closes all sessions before it.
type Engine interface {
	Info() Info
	// Supports says whether a point can be built, without building it: nil, or an error
	// whose text is the reason shown in the skipped row.
	Supports(BuildOptions) error
	// Build compiles a network. A cancelled context ends a build that can be
	// ended. An error names the node it is about, where there is one.
	Build(context.Context, *models.Network, hardware.Stream, BuildOptions) (Session, error)
	Close() error
}

// Info says which library answered; every result holds it.
type Info struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Library string `json:"library"` // path of the shared library, empty for one built in
	SHA256  string `json:"sha256"`  // of that file
}

// BuildOptions is what a session is compiled for.
type BuildOptions struct {
	Precision models.Precision
	Batch     int // images per inference
	Threads   int // host threads one inference may use; a GPU engine ignores it
	// Ranges of the network's activations; int8 and fp8 need them, but only in Build: a
	// plan is made before a calibration.
	Ranges *models.Ranges
	// AllowEmulated lets an engine run a precision that it does not compute in, by
	// converting back and forth. Without it Supports refuses.
	AllowEmulated bool
	// Layers asks for a session whose layers can be timed (LayerTimer). Its inferences
	// may take longer for it.
	Layers bool
	// Build tells builds of one network apart, from 1, where a run replicates them;
	// 0 is the first. An engine that searches for its kernels searches again for each;
	// others, whose builds come out the same, ignore it.
	Build int
}

// An Observer is an engine that can show a network's activations, from which
// calibration takes the ranges of int8 and fp8. It runs one input through the folded
// network in fp32 and calls see with the output of every node, and with
// models.InputName for the input; the values are valid only during the call.
type Observer interface {
	Observe(ctx context.Context, n *models.Network, input models.Tensor, see func(node string, values []float32) error) error
}

// A FileEngine is an engine that runs ONNX files as they are, including those of other
// makers, whatever their operators, inputs and types.
type FileEngine interface {
	// BuildFile compiles a file for the contents of its inputs, in the order of
	// File.Inputs; they fix open shapes and stay the session's inputs: its SetInput
	// refuses. Output gives the first output of floats. Of the options only the threads
	// and tf32 matter; otherwise a file's precision is its own, and its batch that of
	// its inputs. BuildFile may run an inference to learn the outputs' shapes.
	BuildFile(ctx context.Context, f *models.File, inputs []models.Value, stream hardware.Stream, o BuildOptions) (Session, error)
}

// A Session is a network compiled for one device, precision and batch. It
// belongs to the goroutine that built it. Close is safe to call twice.
type Session interface {
	// SetInput copies an NCHW float32 tensor to where the engine reads it; the
	// shape must be the network's at the session's batch.
	SetInput(models.Tensor) error
	// Call is the C function that submits one inference on the stream. It is
	// valid until Close. Work it submits must be ordered on the stream: an engine
	// that defers work to a thread of its own and returns is caught and refused.
	Call() native.Call
	// Output copies the result of the last inference, once the stream has been
	// synchronised.
	Output() (models.Tensor, error)
	// Explain gives the engine's words for a failed Call.
	Explain(*native.CallError) error
	// Executed says what ran. An engine that learns this from an inference knows
	// nothing before the first, which may take a little longer for it.
	Executed() Execution
	Close() error
}

// Execution is what really ran, as far as the engine says.
type Execution struct {
	// Precisions counts compute nodes by the precision they ran in; nil where not known.
	// One that ran in either of two, the engine cannot tell which, counts as "fp32 or
	// tf32", and Choices says why.
	Precisions map[string]int `json:"precisions,omitempty"`
	// Fallback names nodes that left the engine's device.
	Fallback []string `json:"fallback,omitempty"`
	// DeviceBytes is device memory held by the session: its inputs and outputs, weights,
	// activations and workspaces, without what the library holds for the process; 0 where
	// not known.
	DeviceBytes int64 `json:"device_bytes,omitempty"`
	// Choices says in words what the engine chose where it had a choice: layouts,
	// algorithms, workspaces.
	Choices []string `json:"choices,omitempty"`
	// Plan is what an engine that searches for its kernels found; nil for others.
	Plan *Plan `json:"plan,omitempty"`
}

// A Plan identifies the outcome of a search for kernels, which times candidates and
// so may come out differently in every build.
type Plan struct {
	// Build is which of the builds that a run replicates this is, from 1.
	Build  int    `json:"build,omitempty"`
	SHA256 string `json:"sha256"` // of the serialised plan, hexadecimal, as are all here
	// TimingSHA256 is that of the timing cache it followed from; empty without one.
	TimingSHA256 string `json:"timing_cache_sha256,omitempty"`
	// TacticsDigest is the SHA-256 of all layers' names and tactics; empty where the plan
	// cannot be inspected.
	TacticsDigest string `json:"tactics_digest,omitempty"`
	// Cached says that an earlier build was taken, so its time is that of loading.
	Cached bool `json:"cached"`
}

// An UnavailableError says what is missing, where it was looked for, and which command
// mends that.
type UnavailableError struct {
	Engine  string
	Missing string   // "libonnxruntime.so"
	Looked  []string // places, in order, each with the loader's answer where it gave one
	Hint    string   // "run `genbench setup onnxruntime`"
}

func (e *UnavailableError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "engine %s unavailable: %s not found", e.Engine, e.Missing)
	if len(e.Looked) > 0 {
		fmt.Fprintf(&b, " (looked in %s)", strings.Join(e.Looked, "; "))
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "; %s", e.Hint)
	}
	return b.String()
}
