package bench

import (
	"errors"
	"fmt"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
)

// A CopyRecord is what it takes to bring an inference its input and to take its output
// away, in a short pass after the round of a visit (M2). None of it is in the latency.
type CopyRecord struct {
	Type   string `json:"type"` // "copies"
	ID     string `json:"point"`
	Launch int    `json:"launch"`
	Round  int    `json:"round"`
	Start  int64  `json:"t_start_ns"`
	// InputBytes and OutputBytes are those of all inputs and outputs, in the engine's types.
	InputBytes  int64 `json:"input_bytes"`
	OutputBytes int64 `json:"output_bytes"`
	// InNS and OutNS lie between events around only the copies, from or to pinned memory;
	// AroundNS is by the host's clock, from submitting the copy in until the output is
	// there, with an inference between.
	InNS     []int64 `json:"h2d_ns"`
	OutNS    []int64 `json:"d2h_ns"`
	AroundNS []int64 `json:"e2e_ns"`
	// Missing says why there are none; empty where there are.
	Missing string `json:"copies_reason,omitempty"`
}

// Why a point has no copies.
const (
	// NoHostCopies is why no point on a host has any.
	NoHostCopies = "on a host the input and the output are where they are used"
	noCopyPass   = "the run timed no copies"
)

// copyTime is how long inferences between copies are taken for, once there are
// leastCopies of them.
const (
	copyTime    = 500 * time.Millisecond
	leastCopies = 5
)

// copies is how many inferences between copies a visit takes (M2).
func (p Protocol) copies(inference time.Duration) int {
	return min(p.CopySamples, max(leastCopies, int(copyTime/max(inference, 1))))
}

// copiesStage is the stage of a worker that times copies.
const copiesStage = "copies"

// uncopied records why a visit whose worker died while taking copies has none. The
// round before them stands.
func (r *Runner) uncopied(d *death, launch int) error {
	return r.append(CopyRecord{Type: "copies", ID: d.at, Launch: launch, Start: r.now() - r.Base, Missing: d.reason})
}

// copies times those of a session and tells the parent. A failure costs only the
// copies: the round is taken.
func (w *worker) copies(a *arrangement, v Visit, inference time.Duration) error {
	n := w.spec.Config.Protocol.copies(inference)
	if a.stream == nil || n == 0 || v.Sentinel {
		return nil
	}
	if err := w.begin(v.Point, copiesStage, time.Duration(n)*inference); err != nil {
		return err
	}
	record := CopyRecord{Type: "copies", ID: v.Point.String(), Launch: w.spec.Launch, Round: v.Round, Start: w.now() - w.spec.Base}
	if err := w.takeCopies(a, n, &record); err != nil {
		record.InNS, record.OutNS, record.AroundNS, record.Missing = nil, nil, nil, err.Error()
	}
	return w.say(record)
}

func (w *worker) takeCopies(a *arrangement, n int, r *CopyRecord) (err error) {
	resident, ok := a.Session.(engines.Resident)
	if !ok {
		return errors.New("the engine does not say where its input and output lie")
	}
	inputs, outputs := resident.Resident()
	r.InputBytes, r.OutputBytes = bytesOf(inputs), bytesOf(outputs)
	transfer, err := a.stream.Transfer(inputs, outputs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, transfer.Close()) }()
	return w.quietly(func() error {
		for _, of := range []struct {
			call native.Call
			ns   *[]int64
			take func(hardware.Sample) int64
		}{
			{transfer.In(), &r.InNS, func(s hardware.Sample) int64 { return s.Device }},
			{transfer.Out(), &r.OutNS, func(s hardware.Sample) int64 { return s.Device }},
			{transfer.Around(a.Call()), &r.AroundNS, func(s hardware.Sample) int64 { return s.Host }},
		} {
			s := samples(n + 1) // the first is a warm-up
			start := w.now()
			err := a.stream.Time(of.call, s)
			w.busy += time.Duration(w.now() - start)
			if err != nil {
				return explainCopies(a, transfer, err)
			}
			for _, one := range s[1:] {
				ns := of.take(one)
				if ns <= 0 {
					return fmt.Errorf("the clock went backwards: a copy took %d ns", ns)
				}
				*of.ns = append(*of.ns, ns)
			}
		}
		return nil
	})
}

// explainCopies finds whose call failed: a copy's, or the inference's between them.
func explainCopies(a *arrangement, t hardware.Transfer, err error) error {
	var failed *native.CallError
	if !errors.As(err, &failed) {
		return err
	}
	if copied := t.Explain(); copied != nil {
		return fmt.Errorf("copy input and output: %w", copied)
	}
	return a.Explain(failed)
}

func bytesOf(places []hardware.Memory) (sum int64) {
	for _, p := range places {
		sum += p.Bytes
	}
	return sum
}

// Copies are the medians around an inference, in ns, with intervals over the same
// replicates as the latency's (M2).
type Copies struct {
	In, Out Estimate // device time of only the copies
	Around  Estimate // host time from host to host, an inference included
	// InputBytes and OutputBytes of one inference.
	InputBytes, OutputBytes int64
}

// takeCopies takes in what was copied around the inferences of a point (M2).
func (m *Measurement) takeCopies(log *Log, id string) {
	if m.NoCopies = noCopyPass; !m.onGPU() {
		m.NoCopies = NoHostCopies
	}
	var launches []int
	in, out, around := map[int][]float64{}, map[int][]float64{}, map[int][]float64{}
	var c Copies
	for i := range log.Copies {
		r := &log.Copies[i]
		switch {
		case r.ID != id:
			continue
		case r.Missing != "":
			m.NoCopies = r.Missing
			continue
		}
		if in[r.Launch] == nil {
			launches = append(launches, r.Launch)
		}
		c.InputBytes, c.OutputBytes = r.InputBytes, r.OutputBytes
		in[r.Launch] = append(in[r.Launch], float64(median(r.InNS)))
		out[r.Launch] = append(out[r.Launch], float64(median(r.OutNS)))
		around[r.Launch] = append(around[r.Launch], float64(median(r.AroundNS)))
	}
	if len(launches) == 0 {
		return
	}
	builds := m.builds(log, launches)
	over := func(of map[int][]float64) Estimate {
		var medians [][]float64
		for _, l := range launches {
			medians = append(medians, of[l])
		}
		return overReplicas(medians, builds)
	}
	c.In, c.Out, c.Around = over(in), over(out), over(around)
	m.Copies, m.NoCopies = &c, ""
}

// onGPU tells whether a point's rounds have a device time of their own.
func (m *Measurement) onGPU() bool {
	for _, r := range m.Rounds {
		if r.EnqueueNS != nil {
			return true
		}
	}
	return false
}

// invalid says why a record of copies that parsed cannot be true.
func (r *CopyRecord) invalid() string {
	for _, ns := range [][]int64{r.InNS, r.OutNS, r.AroundNS} {
		if len(ns) == 0 && r.Missing == "" {
			return "copies without samples"
		}
		for i, v := range ns {
			if v <= 0 {
				return fmt.Sprintf("copies with a sample %d of %d ns", i, v)
			}
		}
	}
	return ""
}
