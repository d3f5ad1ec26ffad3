package reports

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gonum.org/v1/gonum/stat"

	"genbench/bench"
	"genbench/hardware"
)

// compose makes the full report of a run: the finding, what it rests on, how it
// was come by, and what is to be doubted about it.
func compose(r *bench.Result, pictures []picture) document {
	run := r.Log.Run
	rows := byBatch(rowsOf([]*bench.Result{r}))
	d := document{
		heading{1, title(r)},
		paragraph{strong(capitalised(found(r)) + ".")},
	}
	for _, doubt := range runDoubts(r) {
		d = append(d, quote(slices.Concat(prose{strong("Doubt about the whole run:"), " "}, marked(doubt.Means), prose{" (", strings.Join(doubt.details, "; "), "). To fix it: "}, marked(doubt.Advice), prose{"."})))
	}

	d = append(d, heading{2, "Results"})
	notes := notesOf(rows)
	d = append(d, results(rows)...)
	d = append(d, versus(r)...)
	if len(pictures) > 0 {
		d = append(d, heading{2, "Pictures"})
	}
	for _, p := range pictures {
		if p.skipped != "" {
			d = append(d, paragraph{"No picture of ", p.subject, ": ", p.skipped, "."})
			continue
		}
		d = append(d, p)
	}
	d = append(d, layers(rows)...)
	d = append(d, statistics(r, rows)...)
	d = append(d, measurement(r)...)
	d = append(d, rules(r)...)
	d = append(d, machine(run)...)
	d = append(d, telemetry(r)...)
	d = append(d, doubtful(notes)...)
	d = append(d, numberless(notes)...)
	return d
}

// capitalised begins a sentence.
func capitalised(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}

// title is the first line: what kind of run, of how much, on what.
func title(r *bench.Result) string {
	run := r.Log.Run
	networks := map[string]bool{}
	for _, p := range run.Plan {
		networks[p.Point.Model] = true
	}
	return fmt.Sprintf("%s: %s on %s", kind(run), count(len(networks), "network"), deviceText(run))
}

// core are the columns of the page's first table; the second has the rest.
func core(c column) bool {
	switch c.key {
	case "model", "engine", "precision", "batch", "graph", "cache", "resolution",
		"latency_ms.median", "latency_ms.half_width_percent", "latency_ms.ci_low", "latency_ms.p99", "throughput_per_s", "ms_per_image", "top1_percent", "quality":
		return true
	}
	return false
}

// results are the tables.
func results(rows []row) document {
	if len(rows) == 0 {
		return document{paragraph{"The plan has no points."}}
	}
	main := tableOf(rows, 0, core)
	rest := tableOf(rows, 0, func(c column) bool { return !core(c) && !c.statistic || c.key == "model" || c.key == "batch" || c.axis })
	var d document
	if len(main.common) > 0 {
		d = append(d, paragraph{"All points: " + strings.Join(main.common, ", ") + "."})
	}
	d = append(d, main.grid(true), main.legend())
	if slices.ContainsFunc(rows, row.measured) {
		d = append(d, folded{"More figures of the same points", document{rest.grid(false), rest.legend()}})
	}
	return d
}

// grid turns a table into one for a page.
func (t table) grid(signs bool) grid {
	var g grid
	signs = signs && len(t.notes.doubts)+len(t.notes.reasons) > 0
	for _, c := range t.columns {
		h := c.header
		if c.unit != "" {
			h += " " + c.unit
		}
		g.header, g.right = append(g.header, h), append(g.right, c.right)
	}
	if signs {
		g.header, g.right = append(g.header, notesHeader), append(g.right, false)
	}
	for i, r := range t.rows {
		var line []prose
		for j, c := range t.columns {
			text := t.cells[i][j].people()
			switch {
			case c.key == stateColumn && r.measured():
				line = append(line, prose{strong(text)})
			case c.key == "model" && isGENet(r):
				line = append(line, prose{strong(text)})
			default:
				line = append(line, prose{text})
			}
		}
		if signs {
			line = append(line, prose{t.notes.signs(r)})
		}
		g.rows = append(g.rows, line)
	}
	return g
}

// legend explains the columns of a table and its dashes.
func (t table) legend() list {
	var l list
	for _, c := range t.columns {
		if c.explain {
			l = append(l, prose{strong(c.header), ": ", c.doc})
		}
	}
	for _, gap := range t.gaps {
		l = append(l, prose{"– in ", gap})
	}
	for _, empty := range t.empty {
		l = append(l, prose{"no column ", empty})
	}
	return l
}

// versus compares every GENet with its rival.
func versus(r *bench.Result) document {
	all := comparisons(r)
	if len(all) == 0 {
		return nil
	}
	g := grid{
		header: []string{"batch", "GENet", "top-1 %", "baseline", "top-1 %", "times as fast", "95 % interval"},
		right:  []bool{true, false, true, false, true, true, true},
	}
	naming := namingOf(usableRows(r))
	network := func(p bench.Point) string {
		if naming.resolution {
			return fmt.Sprintf("%s@%d", p.Model, p.Resolution)
		}
		return p.Model
	}
	short := false
	for _, c := range all {
		name := network(c.genet.Point)
		if how := naming.differing(c.genet.Point); how != nil {
			name += " (" + strings.Join(how, ", ") + ")"
		}
		rival := prose{network(c.rival.Point)}
		if !c.matched {
			rival, short = append(rival, " †"), true
		}
		interval := "–"
		if c.ratio.Low != nil {
			interval = digits(c.ratio, *c.ratio.Low) + " to " + digits(c.ratio, *c.ratio.High)
		}
		g.rows = append(g.rows, []prose{
			{fmt.Sprint(c.genet.Point.Batch)}, {strong(name)}, {roundTo(*c.genet.Model.Top1, 1)},
			rival, {roundTo(*c.rival.Model.Top1, 1)}, {strong(digits(c.ratio, c.ratio.Value))}, {interval},
		})
	}
	d := document{
		heading{2, "GENet against the baselines"},
		paragraph{"Each GENet against the fastest measured baseline that is published at equal or better top-1, at the same batch with the same engine in the same precision, submitted in the same way. " +
			"A ratio above 1 says that the GENet is faster. Its interval is Welch's, on the logarithms of the two latencies, from their intervals over launches; an interval that contains 1 does not tell the two apart."},
		g,
	}
	if short {
		d = append(d, paragraph{"† No measured baseline reaches the GENet's top-1, so the most accurate one stands in: the GENet is the more accurate of the two."})
	}
	return d
}

// Diagrams of what a latency is, for people who have been told many things by that
// name.
const (
	hostDiagram = `
a visit   build │ first inference │ warm-up │ proof of a steady state │ ■■■■│■■■■│■■■■│ … │■■■■│
          └────────────────── not in the latency ───────────────────┘   └──────── round ───────┘

a sample  │◄─────────── device time ───────────►│   one inference of the whole batch
        clock                                 clock   read in C around the engine's call
`
	gpuDiagram = `
a visit   build │ first inference │ warm-up │ proof of a steady state │ ■■■■│■■■■│■■■■│ … │■■■■│
          └────────────────── not in the latency ───────────────────┘   └──────── round ───────┘

a sample  host    ├─ enqueue time ─┤
          device       event ├───────── device time ─────────┤ event   one inference of the whole batch
          host    ├─────────────────── host time ───────────────────┤ synchronised
`
)

// measurement tells how the numbers came about and how to come by them again.
func measurement(r *bench.Result) document {
	run := r.Log.Run
	p := run.Config.Protocol
	d := document{
		heading{2, "How it was measured"},
		paragraph{"Latency is the median device time of one inference of the whole batch, input and output resident: the median of the samples of a round, " +
			"averaged on the logarithm over the rounds of a launch, then over launches. Its interval is a 95 % t interval over launches, the level at which everything is replicated. " +
			"Throughput and high quantiles are computed for each launch and averaged in the same way; their intervals are bootstrapped over launches, rounds and blocks of samples, kept in the order of the quantiles, and cut off: on the slow side where the interval of the launches' slowest samples ends, on the fast side at the t interval over launches."},
	}
	diagram := hostDiagram
	if !strings.HasPrefix(kind(run), "CPU run") {
		diagram = gpuDiagram
	}
	d = append(d, code(strings.Trim(diagram, "\n")))

	g := pairs("setting")
	g.add("protocol", prose{fmt.Sprintf("%s, profile %s", p.ID, p.Profile)})
	g.add("design", prose{fmt.Sprintf("%s (fresh processes, points in random order) × %s", countOf(p.Launches, "launch", "launches"), count(p.Rounds, "round"))})
	g.add("round", prose{fmt.Sprintf("all samples of windows whose medians lie within %s %% beyond their own noise and show no drift, at least the larger of %s and %s; after %s a drift that noise does not explain marks the round unsteady",
		percent(100*(p.SteadyRatio-1)), count(p.RoundSamples, "sample"), seconds(p.RoundTime.Seconds()), seconds(p.SteadyCap.Seconds()))})
	if p.SteadyClock > 0 {
		g.add("clock of a GPU in a round", prose{fmt.Sprintf("the mean clocks of those windows lie within %s %%, or within %s %% where a power cap holds floating clocks; otherwise the round is marked unsteady", percent(100*p.SteadyClock), percent(100*p.SteadyClockCapped))})
	}
	g.add("before each round", prose{fmt.Sprintf("at least %s and %s of warm-up", count(p.WarmupSamples, "inference"), seconds(p.WarmupTime.Seconds()))})
	if p.DropSteal > 0 || p.DropForeign > 0 {
		g.add("a round is dropped", prose{fmt.Sprintf("if the hypervisor took more than %s %% of the machine's time or other processes used more than %g processors", percent(100*p.DropSteal), p.DropForeign)})
	}
	if p.EventEvery > 0 {
		g.add("a round on a GPU is dropped", prose{fmt.Sprintf("if other processes used the GPU or it had errors, or if its driver reported heat, a power brake or a slowdown, at either end of the round or when asked every %s in between", seconds(p.EventEvery.Seconds()))})
	}
	for _, e := range run.Engines {
		g.add("engine "+e.Name, engineText(e))
	}
	if clocks := clocksText(r); clocks != "" {
		g.add("clocks of the GPU", marked(clocks))
	}
	g.add("host threads an inference may use", prose{fmt.Sprint(run.Config.Threads)})
	g.add("seed", prose{fmt.Sprint(run.Seed)})
	g.add("weights", weights(r))
	g.add("top-1", top1Sources(r))
	g.add("genbench", genbenchText(run))
	g.add("run", prose{mono(run.ID), ", started ", run.Started.UTC().Format("2006-01-02 15:04:05"), " UTC"})
	if end := r.Log.End; end != nil {
		g.add("time", prose{fmt.Sprintf("%s used, %s of it inside timed blocks; %s planned", seconds(end.UsedSeconds), seconds(end.MeasuringSeconds), seconds(end.PlannedSeconds))})
	}
	d = append(d, g.grid)
	if len(run.Argv) > 0 {
		d = append(d, paragraph{"To repeat this run:"}, code(commandLine(run)))
	}
	return d
}

func genbenchText(run bench.RunRecord) prose {
	t := prose{run.GenbenchVersion}
	if run.GenbenchSHA256 != "" {
		t = append(t, ", sha256 ", mono(prefix(run.GenbenchSHA256, 12)), "…")
	}
	return append(t, ", journal ", mono(run.Schema))
}

func engineText(e bench.EngineRecord) prose {
	if !e.Available {
		return append(prose{"not available: "}, marked(e.Reason)...)
	}
	t := prose{e.Version}
	if e.Library != "" {
		// The name without its folder: where a library lies is nobody's business.
		t = append(t, ", ", mono(filepath.Base(e.Library)))
	}
	if e.SHA256 != "" {
		t = append(t, ", sha256 ", mono(prefix(e.SHA256, 12)), "…")
	}
	if e.Reference {
		t = append(t, " (reference: checks others, not built for speed)")
	}
	return t
}

// weights names where the networks' parameters come from; top-1 would otherwise
// seem to be theirs.
func weights(r *bench.Result) prose {
	var origins []string
	for _, m := range r.Log.Models {
		if m.Weights != "" && !slices.Contains(origins, m.Weights) {
			origins = append(origins, m.Weights)
		}
	}
	return prose{strings.Join(origins, ", ")}
}

func top1Sources(r *bench.Result) prose {
	var sources []string
	for _, m := range r.Log.Models {
		if m.Top1 != nil && !slices.Contains(sources, m.Top1Source) {
			sources = append(sources, m.Top1Source)
		}
	}
	if len(sources) == 0 {
		return nil
	}
	return prose{"published, not measured: ", strings.Join(sources, "; ")}
}

// commandLine is what repeats the run. What the run chose for itself is added, so
// that it chooses the same again; the directory of the result is left out, because
// results are never overwritten.
func commandLine(run bench.RunRecord) string {
	words := []string{filepath.Base(run.Argv[0])}
	given := map[string]bool{}
	for i := 1; i < len(run.Argv); i++ {
		flag, _, joined := strings.Cut(run.Argv[i], "=")
		given[flag] = true
		if flag == "--out" {
			if !joined {
				i++
			}
			continue
		}
		words = append(words, shellQuote(run.Argv[i]))
	}
	if len(run.Argv) < 2 || run.Argv[1] != "run" {
		return strings.Join(words, " ") // a replay takes both from the run that it repeats
	}
	if !given["--seed"] {
		words = append(words, "--seed", fmt.Sprint(run.Seed))
	}
	if !given["--threads"] && run.Config.Threads > 0 {
		words = append(words, "--threads", fmt.Sprint(run.Config.Threads))
	}
	return strings.Join(words, " ")
}

// shellQuote makes one word of an argument for a POSIX shell.
func shellQuote(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./=,:@%+", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func prefix(s string, n int) string { return s[:min(n, len(s))] }

// seconds shows a length of time for people.
func seconds(s float64) string {
	switch {
	case s >= 120:
		return fmt.Sprintf("%d min %d s", int(s+0.5)/60, int(s+0.5)%60)
	case s >= 10:
		return roundTo(s, 0) + " s"
	case s >= 1:
		return fmt.Sprintf("%g s", significant(s, 2))
	}
	return fmt.Sprintf("%g ms", significant(1000*s, 2))
}

// pairs is a table of names and what they are.
func pairs(name string) *pairGrid {
	return &pairGrid{grid{header: []string{name, "value"}, right: []bool{false, false}}}
}

type pairGrid struct{ grid }

// add leaves an empty text out.
func (g *pairGrid) add(name string, text prose) {
	if len(text) == 0 || (len(text) == 1 && text[0] == "") {
		return
	}
	g.rows = append(g.rows, []prose{{name}, text})
}

// machine describes what the run ran on, as far as it is known.
func machine(run bench.RunRecord) document {
	h := run.Host
	g := pairs("property")
	optional := func(name string, known bool, text func() string) {
		if known {
			g.add(name, prose{text()})
		}
	}
	for _, d := range run.Devices {
		if d.Kind != hardware.Host {
			g.add("device", prose{deviceName(d), " ", mono(d.ID), ", ", gib(d.Memory)})
		}
	}
	optional("processor", h.CPUModel != nil, func() string { return *h.CPUModel + ", " + h.Architecture })
	optional("sockets, cores, processors", h.Sockets != nil && h.Cores != nil && h.CPUs != nil, func() string {
		return fmt.Sprintf("%d, %d, %d", *h.Sockets, *h.Cores, *h.CPUs)
	})
	optional("processors (cores unknown)", h.CPUs != nil && (h.Sockets == nil || h.Cores == nil), func() string { return fmt.Sprint(*h.CPUs) })
	optional("two processors share a core", h.SMT != nil, func() string { return yes(*h.SMT) })
	optional("memory", h.MemTotal != nil, func() string { return gib(*h.MemTotal) })
	optional("frequency governor", h.Governor != nil, func() string { return *h.Governor })
	optional("clocks above nominal", h.Turbo != nil, func() string { return yes(*h.Turbo) })
	optional("virtual machine", h.Virtualised != nil, func() string {
		if *h.Virtualised && h.Hypervisor != nil {
			return "yes, " + *h.Hypervisor
		}
		return yes(*h.Virtualised)
	})
	optional("limits of the control group", h.CgroupLimits != nil && (h.CgroupLimits.CPUs != nil || h.CgroupLimits.MemoryBytes != nil), func() string {
		var limits []string
		if c := h.CgroupLimits.CPUs; c != nil {
			limits = append(limits, fmt.Sprintf("%g processors", *c))
		}
		if m := h.CgroupLimits.MemoryBytes; m != nil {
			limits = append(limits, gib(*m))
		}
		return strings.Join(limits, ", ")
	})
	optional("bound to processors", len(h.PinnedCPUs) > 0, func() string { return strings.Trim(fmt.Sprint(h.PinnedCPUs), "[]") })
	optional("kernel", h.Kernel != nil, func() string { return *h.Kernel })
	optional("boot parameters that change timing", len(h.KernelParameters) > 0, func() string { return strings.Join(h.KernelParameters, " ") })
	optional("distribution", h.Distro != nil, func() string { return *h.Distro })
	optional("clock source", h.Clocksource != nil, func() string { return *h.Clocksource })
	optional("host name, hashed", h.HostnameHash != nil, func() string { return *h.HostnameHash })
	d := document{heading{2, "The machine"}}
	if len(g.rows) == 0 {
		return append(d, paragraph{"The journal describes no machine."})
	}
	d = append(d, g.grid)
	if unknowns := reasonsOf(h.Reasons); len(unknowns) > 0 {
		d = append(d, folded{"What is not known about it", document{unknowns}})
	}
	return d
}

// reasonsOf lists why fields are unknown, by field.
func reasonsOf(reasons hardware.Reasons) list {
	var keys []string
	for key := range reasons {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var l list
	for _, key := range keys {
		l = append(l, prose{mono(key), ": ", reasons[key]})
	}
	return l
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func gib(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

// telemetry sums the counters up that were read beside the rounds.
func telemetry(r *bench.Result) document {
	d := document{heading{2, "What the counters showed"}}
	g := grid{header: []string{"counter", "unit", "lowest", "median", "highest"}, right: []bool{false, false, true, true, true}}
	for _, s := range counters(r) {
		values := make([]float64, 0, len(s.points))
		for _, p := range s.points {
			values = append(values, p.value)
		}
		slices.Sort(values)
		show := func(v float64) prose {
			if math.Abs(v) >= 1000 {
				return prose{roundTo(v, 0)}
			}
			return prose{fmt.Sprintf("%g", significant(v, 4))}
		}
		g.rows = append(g.rows, []prose{{s.name}, {s.unit}, show(values[0]), show(stat.Quantile(0.5, stat.LinInterp, values, nil)), show(values[len(values)-1])})
	}
	if len(g.rows) == 0 {
		return append(d, paragraph{"The journal holds no readings of counters."})
	}
	when := "between rounds and, by another process, once a second"
	if onGPU(r.Log.Run) {
		when = "from the GPU between rounds, and from the host also once a second by another process"
	}
	return append(d, paragraph{fmt.Sprintf("Over %s, taken %s.", count(len(r.Log.Readings), "reading"), when)}, g)
}

// doubtful lists the doubts about points, each with all the points that carry it.
func doubtful(n notes) document {
	if len(n.doubts) == 0 {
		return nil
	}
	d := document{heading{2, "Doubts"}}
	for _, note := range n.doubts {
		d = append(d, paragraph(slices.Concat(prose{strong(note.sign), " ", mono(note.Code), ": "}, marked(note.Means), prose{". To fix it: "}, marked(note.Advice), prose{"."})))
		var l list
		for _, of := range note.of {
			l = append(l, prose{mono(of.point), ": ", of.detail})
		}
		d = append(d, folded{countOf(len(l), "point has it", "points have it"), document{l}})
	}
	return d
}

// numberless lists the points without numbers and why.
func numberless(n notes) document {
	if len(n.reasons) == 0 {
		return nil
	}
	d := document{heading{2, "Points without numbers"}}
	for _, note := range n.reasons {
		d = append(d, paragraph(append(prose{strong(note.sign), " ", note.headline(), ": "}, marked(note.reason)...)))
		if len(note.points) > 0 {
			var l list
			for _, p := range note.points {
				l = append(l, prose{mono(p)})
			}
			if len(l) == 1 {
				d = append(d, l)
			} else {
				d = append(d, folded{"The points", document{l}})
			}
		}
		if len(note.log) > 0 {
			d = append(d, folded{"The worker's last words", document{code(strings.Join(note.log, "\n"))}})
		}
	}
	return d
}
