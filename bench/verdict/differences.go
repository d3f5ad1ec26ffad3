package verdict

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"genbench/bench"
	"genbench/hardware"
)

// A Difference is something around the points that two results do not share.
type Difference struct {
	Name      string // as `--allow-diff` takes it
	Base, New string
	// Spoils says that numbers on both sides of it do not belong together (R9);
	// otherwise it is only reported.
	Spoils  bool
	Allowed bool // by --allow-diff
}

// names lists differences as `--allow-diff` takes them, each once.
func names(list []Difference) string {
	var all []string
	for _, d := range list {
		if !slices.Contains(all, d.Name) {
			all = append(all, d.Name)
		}
	}
	return strings.Join(all, ",")
}

// DifferenceNames lists what `--allow-diff` takes.
func DifferenceNames() []string {
	return []string{"protocol", "machine", "cpu", "cores", "governor", "turbo", "pinning", "threads", "device", "gpu", "gpu-uuid", "driver", "power-limit", "ecc", "mig", "clocks", "engine", "library", "model", "precision", "resolution", "graph", "cache"}
}

// Differences lists what two arms do not share, the machine first. The version of
// genbench and the kernel are reported and spoil nothing: they are what a gate
// compares and what any machine updates.
func Differences(base, fresh Arm) []Difference {
	a, b := base.Run(), fresh.Run()
	var list []Difference
	differ := func(name, x, y string, spoils bool) {
		if x != y {
			list = append(list, Difference{Name: name, Base: cmp.Or(x, "none"), New: cmp.Or(y, "none"), Spoils: spoils})
		}
	}
	differ("protocol", a.Protocol, b.Protocol, true)
	for _, d := range protocolDifferences(a.Config.Protocol, b.Config.Protocol) {
		differ("protocol", d[0], d[1], true)
	}
	differ("machine", text(a.Host.HostnameHash), text(b.Host.HostnameHash), true)
	differ("cpu", text(a.Host.CPUModel), text(b.Host.CPUModel), true)
	differ("cores", cores(a), cores(b), true)
	differ("governor", text(a.Host.Governor), text(b.Host.Governor), true)
	differ("turbo", text(a.Host.Turbo), text(b.Host.Turbo), true)
	differ("pinning", fmt.Sprint(a.Host.PinnedCPUs), fmt.Sprint(b.Host.PinnedCPUs), true)
	differ("threads", fmt.Sprint(a.Config.Threads), fmt.Sprint(b.Config.Threads), true)
	differ("device", device(a), device(b), true)
	gpu := func(name string, of func(hardware.GPU) string) {
		differ(name, gpus(a, of), gpus(b, of), true)
	}
	gpu("gpu", func(g hardware.GPU) string { return text(g.Name) })
	gpu("gpu-uuid", func(g hardware.GPU) string { return g.UUID })
	gpu("driver", func(g hardware.GPU) string { return text(g.Driver) })
	gpu("power-limit", func(g hardware.GPU) string { return text(g.PowerLimitW) })
	gpu("ecc", func(g hardware.GPU) string { return text(g.ECC) })
	gpu("mig", func(g hardware.GPU) string { return text(g.MIG) })
	differ("clocks", clocks(base), clocks(fresh), true)
	for _, x := range base.engines() {
		for _, y := range fresh.engines() {
			if x.Name != y.Name || !x.Available || !y.Available {
				continue
			}
			differ("engine", x.Name+" "+x.Version, y.Name+" "+y.Version, true)
			if x.Version == y.Version {
				differ("library", short(x.Name, x.SHA256), short(y.Name, y.SHA256), true)
			}
		}
	}
	list = append(list, modelDifferences(base, fresh)...)
	differ("kernel", text(a.Host.Kernel), text(b.Host.Kernel), false)
	differ("genbench", a.GenbenchVersion, b.GenbenchVersion, false)
	return list
}

// engines are those of all journals, each as the first journal that has it says.
func (a Arm) engines() []bench.EngineRecord {
	var list []bench.EngineRecord
	for _, log := range a.Logs {
		for _, e := range log.Run.Engines {
			if !slices.ContainsFunc(list, func(x bench.EngineRecord) bool { return x.Name == e.Name }) {
				list = append(list, e)
			}
		}
	}
	return list
}

// sampling are the numbers of a protocol that decide how a sample is taken. How often
// everything is replicated, and when to give up, are not among them. Nor is what a launch
// of a gate or of a calibration leaves out, so a whole run is comparable with it: the
// first launch's longer warm-up, and the sentinel, which watches and times no point.
func sampling(p bench.Protocol) map[string]json.RawMessage {
	p.ClockProbe = 0 // how a clock is found; which one is a difference of its own
	p.BuildPatience = 0
	p.ID, p.Profile, p.Launches, p.MaxLaunches, p.Rounds, p.Watchdog, p.RelWidth = "", "", 0, 0, 0, 0, 0
	p.Settle, p.SentinelEvery, p.DriftStop = 0, 0, 0
	var m map[string]json.RawMessage
	raw, err := json.Marshal(p)
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		panic(err) // a struct of numbers and strings
	}
	return m
}

// protocolDifferences names the numbers of the sampling in which two protocols differ.
func protocolDifferences(a, b bench.Protocol) [][2]string {
	x, y := sampling(a), sampling(b)
	var list [][2]string
	for key, value := range x {
		if other := y[key]; string(other) != string(value) {
			list = append(list, [2]string{fmt.Sprintf("%s %s", key, value), fmt.Sprintf("%s %s", key, other)})
		}
	}
	slices.SortFunc(list, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	return list
}

// modelDifferences finds points whose network or weights are not the same bytes.
func modelDifferences(base, fresh Arm) []Difference {
	type key struct {
		model, precision  string
		batch, resolution int
	}
	known := map[key]bench.ModelRecord{}
	for _, log := range base.Logs {
		for _, m := range log.Models {
			known[key{m.Model, m.Precision, m.Batch, m.Resolution}] = m
		}
	}
	var list []Difference
	seen := map[string]bool{}
	for _, log := range fresh.Logs {
		for _, m := range log.Models {
			b, ok := known[key{m.Model, m.Precision, m.Batch, m.Resolution}]
			if !ok || seen[m.Model] || (b.ONNXSHA256 == m.ONNXSHA256 && b.WeightsSHA256 == m.WeightsSHA256) {
				continue
			}
			seen[m.Model] = true
			list = append(list, Difference{Name: "model", Base: short(m.Model, b.ONNXSHA256), New: short(m.Model, m.ONNXSHA256), Spoils: true})
		}
	}
	return list
}

// short names a thing by the first digits of its sha256.
func short(name, sum string) string {
	return fmt.Sprintf("%s sha256 %s", name, cmp.Or(sum[:min(12, len(sum))], "unknown"))
}

// text of a value that may not be known.
func text[T any](v *T) string {
	if v == nil {
		return "unknown"
	}
	return fmt.Sprint(*v)
}

// gpus gives a property of the GPUs that were measured on, or of all where NVML knows
// none of those by the device's name, as on the host or on a part of a GPU.
func gpus(r bench.RunRecord, of func(hardware.GPU) string) string {
	var all, measured []string
	for _, g := range r.GPUs {
		all = append(all, of(g))
		if measuredOn(r, g.UUID) {
			measured = append(measured, of(g))
		}
	}
	if len(measured) > 0 {
		all = measured
	}
	return strings.Join(all, ", ")
}

func measuredOn(r bench.RunRecord, id string) bool {
	return slices.ContainsFunc(r.Devices, func(d hardware.Info) bool { return d.ID == id })
}

// device says what kind of device was measured on, and which one where NVML cannot.
func device(r bench.RunRecord) string {
	var all []string
	for _, d := range r.Devices {
		if d.Kind == hardware.Host || slices.ContainsFunc(r.GPUs, func(g hardware.GPU) bool { return g.UUID == d.ID }) {
			all = append(all, string(d.Kind))
		} else {
			all = append(all, d.ID)
		}
	}
	return strings.Join(all, ", ")
}

// Changed lists what changed within an arm while it was measured: two of its
// results do not belong together then. Clocks are not among that: a power cap may
// lower those of one launch, which is then lost and spoils only itself (Arm.sides).
func (a Arm) Changed() []Difference {
	for i, log := range a.Logs[1:] {
		list := slices.DeleteFunc(Differences(Arm{a.Logs[:i+1]}, Arm{[]*bench.Log{log}}), func(d Difference) bool { return !d.Spoils || d.Name == "clocks" })
		if x, y := a.Run().GenbenchSHA256, log.Run.GenbenchSHA256; x != y {
			list = append(list, Difference{Name: "genbench", Base: short("binary", x), New: short("binary", y), Spoils: true})
		}
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

// clocks says how the runs of an arm set the clocks of their GPU: as most of them did.
func clocks(a Arm) string {
	setting, most := "", 0
	counted := map[string]int{}
	for _, log := range a.Logs {
		s := log.ClockSetting()
		if counted[s]++; counted[s] > most {
			setting, most = s, counted[s]
		}
	}
	return setting
}

// cores of the devices that were measured on.
func cores(r bench.RunRecord) string {
	var all []string
	for _, d := range r.Devices {
		all = append(all, fmt.Sprint(d.Cores))
	}
	return strings.Join(all, ", ")
}
