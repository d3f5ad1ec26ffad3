package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"genbench/bench"
	"genbench/hardware"
	"genbench/models"
)

// config resolves flags into what is asked for: the suite's grid with every axis
// that a flag names replaced.
func (a *app) config(f runFlags, device hardware.Info) (bench.Config, error) {
	var c bench.Config
	suite, err := findSuite(f.suite)
	if err != nil {
		return c, err
	}
	profile := f.profile
	if suite.Profile != "" && !f.given("profile") {
		profile = suite.Profile
	}
	if !slices.Contains(profileNames(), profile) {
		return c, unknown("profile", profile, profileNames(), "genbench list profiles")
	}
	protocol, err := suite.Protocol(profile, device.Kind)
	if err != nil {
		return c, err
	}
	c = bench.Config{Suite: suite.Name, Grid: f.grid(suite.Grid).On(device.Kind), Protocol: protocol, Seed: f.seed, Threads: suite.Threads, AllowEmulated: f.emulated, Energy: f.energy, Layers: f.layers, Calibration: f.calibrated}
	if err := f.adjust(&c.Protocol); err != nil {
		return c, err
	}
	replace(f, "threads", &c.Threads, f.threads)
	replace(f, "points", &c.Points, f.points)
	c.Device, c.NVML = device.ID, os.Getenv(nvmlVariable)
	if c.Clocks, err = clockPolicy(f, suite, device); err != nil {
		return c, err
	}
	if f.weights != synthetic {
		c.Weights = f.weights
	}
	if c.Shapes, err = models.ParseShapes(f.shapes); err != nil {
		return c, fmt.Errorf("--shape: %w", err)
	}
	usable, err := hardware.AllowedCPUs()
	if err != nil {
		return c, err
	}
	if f.cpus != "" {
		if c.CPUs, err = hardware.ParseCPUs(f.cpus); err != nil {
			return c, fmt.Errorf("--cpus: %w", err)
		}
		usable = c.CPUs
	}
	if c.Threads == 0 {
		// One for each processor, but no more than a control group's quota feeds.
		host := device
		if device.Kind != hardware.Host {
			if host, err = findDevice(string(hardware.Host)); err != nil {
				return c, err
			}
		}
		c.Threads = min(len(usable), host.Cores)
	}
	if len(c.Grid.Engines) == 0 {
		for _, d := range a.drivers {
			if !d.Reference && d.Device == device.Kind {
				c.Grid.Engines = append(c.Grid.Engines, d.Name)
			}
		}
	}
	switch {
	case f.given("seed"):
	case suite.Seed != nil:
		c.Seed = *suite.Seed
	default:
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return c, err
		}
		c.Seed = uint64(binary.LittleEndian.Uint32(b[:])) // short enough to retype
	}
	return c, a.checkConfig(&c)
}

// grid is a suite's grid with every axis that a flag names replaced.
func (f runFlags) grid(g bench.Grid) bench.Grid {
	replace(f, "models", &g.Models, f.models)
	replace(f, "engines", &g.Engines, f.engines)
	replace(f, "precisions", &g.Precisions, f.precisions)
	replace(f, "batches", &g.Batches, f.batches)
	replace(f, "graph", &g.Graph, f.graph)
	replace(f, "cache", &g.Cache, f.cache)
	replace(f, "gaps", &g.Gaps, f.gaps)
	replace(f, "resolution", &g.Resolution, f.resolution)
	return g
}

// adjust replaces the numbers of a protocol that flags name.
func (f runFlags) adjust(p *bench.Protocol) error {
	replace(f, "launches", &p.Launches, f.launches)
	replace(f, "rel-width", &p.RelWidth, f.relWidth)
	switch {
	case f.given("max-launches") && p.Profile == "ci":
		return errors.New("--max-launches: the profile ci has a fixed number of launches and looks at no interval before the last")
	case f.given("max-launches"):
		p.MaxLaunches = f.most
	case f.given("launches"):
		p.MaxLaunches = 0 // a number that was asked for is fixed
	case f.given("rel-width") && p.Profile != "ci":
		p.MaxLaunches = max(p.MaxLaunches, p.Launches, widthLaunches)
	}
	replace(f, "timeout", &p.Watchdog, f.timeout)
	replace(f, "sentinel-every", &p.SentinelEvery, f.sentinel)
	replace(f, "max-steal", &p.DropSteal, f.maxSteal)
	replace(f, "max-foreign", &p.DropForeign, f.maxForeign)
	return nil
}

// calibrationImages is how many images int8 and fp8 are calibrated on: a tensor of them has
// hundreds of thousands of values, and the reference takes a second for each image of a
// large network.
const calibrationImages = 16

// widthLaunches is the most launches for a width that was asked for, those of the
// profile included (S5).
const widthLaunches = 12

// replace sets a value whose flag was given.
func replace[T any](f runFlags, flag string, to *T, value T) {
	if f.given(flag) {
		*to = value
	}
}

// findSuite takes the name of a suite or the path of a suite file.
func findSuite(name string) (bench.Suite, error) {
	if ext := filepath.Ext(name); ext == ".yaml" || ext == ".yml" {
		text, err := os.ReadFile(name)
		if err != nil {
			return bench.Suite{}, fmt.Errorf("read suite: %w", err)
		}
		return bench.ParseSuite(text, name)
	}
	suite, err := bench.SuiteNamed(name)
	if err != nil {
		return suite, fmt.Errorf("%w; a suite file ends in .yaml", unknown("suite", name, suiteNames(), "genbench list suites"))
	}
	return suite, nil
}

// checkConfig finds everything that is wrong with a config at once.
func (a *app) checkConfig(c *bench.Config) error {
	problems := []error{
		checkModels(c), a.checkEngines(&c.Grid), checkPrecisions(c), checkBatches(&c.Grid),
		checkMode("graph", &c.Grid.Graph, bench.GraphModes()), checkMode("cache", &c.Grid.Cache, bench.CacheModes()),
		checkGaps(&c.Grid),
	}
	if c.Threads < 1 {
		problems = append(problems, fmt.Errorf("--threads %d: want at least 1", c.Threads))
	}
	if c.Grid.Resolution < 0 {
		problems = append(problems, fmt.Errorf("--resolution %d: want a positive number", c.Grid.Resolution))
	}
	if err := c.Protocol.Check(); err != nil {
		problems = append(problems, fmt.Errorf("protocol: %w", err))
	}
	return errors.Join(problems...)
}

// once keeps each of the names only once.
func once(names []string) []string {
	var unique []string
	for _, name := range names {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(unique, name) {
			unique = append(unique, name)
		}
	}
	return unique
}

// checkNames tidies the names of an axis that must have one.
func checkNames(axis string, names *[]string) error {
	if *names = once(*names); *names == nil {
		return fmt.Errorf("--%s names nothing", axis)
	}
	return nil
}

func checkModels(c *bench.Config) error {
	problems := []error{checkNames("models", &c.Grid.Models)}
	for i, name := range c.Grid.Models {
		if models.IsFile(name) {
			problems = append(problems, checkFile(name, c.Shapes))
			continue
		}
		n, err := models.New(name, c.Grid.Resolution)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		c.Grid.Models[i] = n.Name // an alias becomes the name it stands for
		if c.Weights == "" {
			continue
		}
		_, source, err := withWeights(n, c.Weights)
		if err == nil {
			err = source.close()
		}
		problems = append(problems, err)
	}
	c.Grid.Models = once(c.Grid.Models)
	return errors.Join(problems...)
}

// checkEngines lets a grid name none: that means those that are available.
func (a *app) checkEngines(g *bench.Grid) error {
	var problems []error
	g.Engines = once(g.Engines)
	for _, name := range g.Engines {
		_, err := knownEngine(a.drivers, name)
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

func checkPrecisions(c *bench.Config) error {
	problems := []error{checkNames("precisions", &c.Grid.Precisions)}
	for _, name := range c.Grid.Precisions {
		problems = append(problems, knownPrecision(name))
	}
	if slices.ContainsFunc(c.Grid.Precisions, func(p string) bool { return models.Precision(p).Calibrated() }) {
		problems = append(problems, checkCalibration(c.Calibration.Method))
	}
	return errors.Join(problems...)
}

func checkBatches(g *bench.Grid) error {
	if len(g.Batches) == 0 {
		return errors.New("--batches names nothing")
	}
	var problems []error
	var unique []int
	for _, b := range g.Batches {
		if b < 1 {
			problems = append(problems, fmt.Errorf("--batches %d: a batch has at least 1 image", b))
		}
		if !slices.Contains(unique, b) {
			unique = append(unique, b)
		}
	}
	g.Batches = unique
	return errors.Join(problems...)
}

// checkMode checks an axis of GPUs, nil where the run does not have it.
func checkMode(axis string, modes *[]string, known []string) error {
	if *modes == nil {
		return nil
	}
	problems := []error{checkNames(axis, modes)}
	for _, v := range *modes {
		if !slices.Contains(known, v) {
			problems = append(problems, unknown(axis+" mode", v, known, "genbench run --help"))
		}
	}
	return errors.Join(problems...)
}

func checkGaps(g *bench.Grid) error {
	var problems []error
	for _, gap := range g.Gaps {
		if gap < 0 || gap > time.Minute {
			problems = append(problems, fmt.Errorf("--gaps %s: want a time from 0s to 1m", gap))
		}
	}
	g.Gaps = slices.Compact(slices.Sorted(slices.Values(g.Gaps)))
	return errors.Join(problems...)
}

// checkFile refuses a file that is damaged, or leaves open a shape that nothing else
// gives.
func checkFile(path string, shapes map[string]models.Shape) error {
	file, err := models.OpenONNX(path)
	if err != nil {
		return err
	}
	_, err = file.Resolve(0, shapes)
	return errors.Join(err, file.Close())
}

func suiteNames() []string {
	return namesOf(bench.Suites(), func(s bench.Suite) string { return s.Name })
}

func profileNames() []string {
	return namesOf(bench.Profiles(), func(p bench.Profile) string { return p.Name })
}
