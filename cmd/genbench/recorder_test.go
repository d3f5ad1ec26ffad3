package main

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"genbench/bench"
	"genbench/engines"
	"genbench/hardware"
)

// A recorder stands in for another genbench binary: it takes the flags of
// `genbench run` that a gate gives and writes a journal of made-up rounds at once,
// so that stories of gates take no measuring time.
type recorder struct {
	slower   map[string]float64 // by network: relative change at batch 1
	noise    map[string]float64 // by network: how far its launches at batch 1 scatter, instead of by 0.3 %
	lacks    string             // network that is not measured
	spoils   string             // network whose rounds are all dropped
	cpu      string             // another machine
	engine   string             // another version of the engine
	exit     int                // instead of measuring
	waits    bool               // until it is interrupted, from the third launch on
	missing  string             // network that fails
	unproven string             // network whose rounds find no steady state
	changes  string             // the engine's library, in launches below such a directory
	quits    string             // network that fails in the confirmation
	lasts    bool               // as long as its journal says
	dies     bool               // from the third pair on
	errs     bool               // it gives a wrong output in the last pair
	clock    int                // MHz that it locks a GPU at by itself; 0 tells of no clocks
	capped   string             // a power cap lowers its lock in launches below such a directory
	drifts   bool               // from launch to launch, by half a per cent
	rewrites bool               // other networks under the same names
}

// recorders are the commands of scripts, by name.
func recorders() map[string]recorder {
	return map[string]recorder{
		"steady":    {},
		"slower":    {slower: map[string]float64{"genet-small": 0.04}},
		"faster":    {slower: map[string]float64{"genet-small": -0.05}},
		"shrunk":    {lacks: "resnet-18"},
		"failing":   {missing: "resnet-18"},
		"spoilt":    {spoils: "resnet-18"},
		"elsewhere": {cpu: "Another CPU"},
		"updated":   {engine: "2.0"},
		"uninvited": {exit: exitUsage},
		"absent":    {exit: exitUnavailable},
		"crashing":  {exit: 1},
		"waiting":   {waits: true},
		"restless":  {unproven: "genet-small"},
		"worse":     {unproven: "genet-small", slower: map[string]float64{"genet-small": 0.04}},
		"fickle":    {changes: "/03/"},
		"swapped":   {changes: "/confirm/", slower: map[string]float64{"genet-small": 0.04}},
		"quitting":  {quits: "genet-small"},
		"lasting":   {lasts: true},
		"dying":     {dies: true},
		"erring":    {errs: true},
		"rewritten": {rewrites: true},
		"drifting":  {drifts: true},
		"clocked":   {clock: 1410},
		"limited":   {clock: 1395, capped: "/03/"},
		"doubtful":  {noise: map[string]float64{"genet-small": 0.1}, slower: map[string]float64{"resnet-18": 0.0125}},
	}
}

// run is the recorder as a program.
func (r recorder) run() {
	if err := r.record(os.Args[0], os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (r recorder) record(name string, args []string) error {
	flags := map[string]string{"--models": "genet-small,resnet-18", "--batches": "1,8", "--seed": "1", "--threads": "2", "--profile": "quick"}
	var points []string
	for i := 1; i < len(args); i++ {
		if args[i] == "--no-report" {
			continue
		}
		if args[i] == "--points" {
			points = append(points, args[i+1])
		}
		flags[args[i]] = args[i+1]
		i++
	}
	if r.dies && strings.Contains(flags["--out"], "/03/") {
		r.exit = exitInternal
	}
	if r.exit != 0 {
		fmt.Fprintln(os.Stderr, "genbench: it ends on purpose")
		os.Exit(r.exit)
	}
	if r.waits && strings.Contains(flags["--out"], "/03/") {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, os.Interrupt)
		fmt.Fprintln(os.Stderr, "waiting")
		select {
		case <-stop:
		case <-time.After(30 * time.Second):
		}
		os.Exit(exitInterrupted)
	}
	seed, err := strconv.ParseUint(flags["--seed"], 10, 64)
	if err != nil {
		return err
	}
	threads, err := strconv.Atoi(flags["--threads"])
	if err != nil {
		return err
	}
	cpu, version := "A CPU", "1.0"
	if r.cpu != "" {
		cpu = r.cpu
	}
	if r.engine != "" {
		version = r.engine
	}
	hash, library := "abcdef012345", "00"
	if r.changes != "" && strings.Contains(flags["--out"], r.changes) {
		library = "ff"
	}
	protocol, err := bench.NewProtocol(flags["--profile"])
	if err != nil {
		return err
	}
	if n := flags["--launches"]; n != "" {
		if protocol.Launches, err = strconv.Atoi(n); err != nil {
			return err
		}
	}
	if flags["--follow"] != "" {
		protocol.Settle = protocol.SettleAgain
	}
	if every := flags["--sentinel-every"]; every != "" {
		if protocol.SentinelEvery, err = time.ParseDuration(every); err != nil {
			return err
		}
	}
	protocol.WarmupTime = 10 * time.Millisecond
	config := bench.Config{Suite: "default", Protocol: protocol, Threads: threads, Seed: seed}
	var plan []bench.PlannedPoint
	for _, model := range strings.Split(flags["--models"], ",") {
		if model == r.lacks {
			continue
		}
		for _, batch := range strings.Split(flags["--batches"], ",") {
			n, err := strconv.Atoi(batch)
			if err != nil {
				return err
			}
			p := bench.Point{Model: model, Engine: "recorded", Precision: "fp32", Batch: n, Resolution: 224}
			if points != nil && !slices.Contains(points, p.String()) {
				continue
			}
			plan = append(plan, bench.PlannedPoint{ID: p.String(), Point: p})
		}
	}
	journal, err := bench.CreateJournal(flags["--out"])
	if err != nil {
		return err
	}
	defer journal.Close()
	id, started := "run-"+flags["--seed"], time.Date(2026, 3, int(seed%28)+1, 9, 0, 0, 0, time.UTC)
	if flags["--sentinel-every"] != "" { // a launch of a gate or a calibration
		id, started = flags["--out"], time.Now().UTC()
	}
	records := []any{bench.RunRecord{
		Type: "run", Schema: bench.Schema, Protocol: bench.ProtocolID, ID: id, Started: started,
		GenbenchVersion: "recorded", Config: config, Seed: seed, Plan: plan,
		Host:    hardware.HostDescription{HostnameHash: &hash, CPUModel: &cpu, Architecture: "amd64"},
		Devices: []hardware.Info{{ID: "host", Kind: hardware.Host, Name: cpu, Cores: 8}},
		Engines: []bench.EngineRecord{{Info: engines.Info{Name: "recorded", Version: version, SHA256: library}, Available: true}},
	}}
	sum := uint64(len(name))
	for _, c := range name + flags["--out"] {
		sum = sum*31 + uint64(c)
	}
	noise := rand.New(rand.NewPCG(seed, sum))
	sha := "aa"
	if r.rewrites {
		sha = "bb"
	}
	for _, p := range plan {
		records = append(records, bench.ModelRecord{Type: "model", Model: p.Point.Model, Precision: p.Point.Precision, Batch: p.Point.Batch, Resolution: p.Point.Resolution, ONNXSHA256: sha})
	}
	if r.quits != "" && strings.Contains(flags["--out"], "/confirm/") {
		r.missing = r.quits
	}
	if r.clock > 0 {
		lock := bench.ClocksRecord{Type: "clocks", Policy: "lock", LockMHz: r.clock}
		if policy := bench.ClockPolicy(flags["--clocks"]); policy != "" {
			lock.LockMHz = policy.MHz()
		}
		records = append(records, lock)
		if r.capped != "" && strings.Contains(flags["--out"], r.capped) {
			lock.LockMHz -= 15
			records = append(records, lock)
		}
	}
	r.errs = r.errs && strings.Contains(flags["--out"], "/12/")
	for launch := 1; launch <= protocol.Launches; launch++ {
		for _, p := range plan {
			records = append(records, r.visit(p.Point, launch, noise)...)
		}
	}
	end := bench.EndRecord{Type: "end"}
	if r.lasts && flags["--follow"] == "" {
		end.PreparingSeconds = 0.3
	}
	took := paced(records, time.Duration(end.PreparingSeconds*float64(time.Second)), protocol.WarmupTime)
	records = append(records, end)
	for _, record := range records {
		if err := journal.Note(record); err != nil { // nothing here needs to outlive a power cut
			return err
		}
	}
	if r.lasts {
		time.Sleep(took)
	}
	if r.missing != "" {
		os.Exit(exitIncomplete)
	}
	return nil
}

// paced gives rounds the times at which they would have begun after the first
// preparations, and the time that all takes.
func paced(records []any, prepared, warmup time.Duration) time.Duration {
	t := prepared
	for i, record := range records {
		switch r := record.(type) {
		case bench.PointRecord:
			t += warmup + time.Duration(r.BuildNS+r.FirstNS)
		case bench.RoundRecord:
			r.Start = t.Nanoseconds()
			for _, ns := range r.DeviceNS {
				t += time.Duration(ns)
			}
			records[i] = r
		}
	}
	return t
}

// visit makes up one round, of 5 ms an image.
func (r recorder) visit(p bench.Point, launch int, noise *rand.Rand) []any {
	if p.Model == r.missing {
		return []any{bench.PointRecord{Type: "point", ID: p.String(), Launch: launch, Round: 1, Point: p, Failed: "it fails on purpose"}}
	}
	center, scatter := 5e6*float64(p.Batch), 0.003
	if p.Batch == 1 {
		center *= 1 + r.slower[p.Model]
		scatter = cmp.Or(r.noise[p.Model], scatter)
	}
	if r.drifts {
		center *= 1 + 0.005*float64(launch)
	}
	center *= math.Exp(scatter * noise.NormFloat64())
	round := bench.RoundRecord{Type: "round", ID: p.String(), Launch: launch, Round: 1, Try: 1, Order: 1, Status: bench.OK, Steady: bench.SteadyProof{Met: p.Model != r.unproven}}
	for range 10 {
		round.DeviceNS = append(round.DeviceNS, int64(center*math.Exp(0.002*noise.NormFloat64())))
	}
	if p.Model == r.spoils {
		round.Status, round.DropReason = bench.Dropped, "dropped on purpose"
	}
	point := bench.PointRecord{Type: "point", ID: p.String(), Launch: launch, Round: 1, Point: p, BuildNS: 1e6, FirstNS: 6e6}
	if r.errs {
		point.Check = &bench.Check{}
	}
	return []any{point, round}
}
