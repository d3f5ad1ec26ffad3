package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"genbench/bench"
	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

func (a *app) listCommand() *cobra.Command {
	var asJSON bool
	list := &cobra.Command{
		Use:   "list models|engines|suites|precisions|profiles|doubts",
		Short: "List what can be measured, and with what",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			what := "nothing"
			if len(args) > 0 {
				what = strconv.Quote(args[0])
			}
			return usage(fmt.Errorf("list what? got %s, want models, engines, suites, precisions, profiles or doubts", what))
		},
	}
	list.PersistentFlags().BoolVar(&asJSON, "json", false, "print JSON")
	sub := func(name, short string, show func(context.Context, bool) error) {
		list.AddCommand(&cobra.Command{
			Use: name, Short: short, Args: exactArgs(0, "no arguments"),
			RunE: func(cmd *cobra.Command, _ []string) error { return show(cmd.Context(), asJSON) },
		})
	}
	sub("models", "The networks: cost and published accuracy", a.listModels)
	sub("engines", "The inference libraries, and why any is not available", a.listEngines)
	sub("suites", "The named grids", a.listSuites)
	sub("precisions", "The element types of compute", a.listPrecisions)
	sub("profiles", "The measurement designs", a.listProfiles)
	sub("doubts", "The reasons to trust a number less, and what to do about each", a.listDoubts)
	return list
}

func (a *app) listModels(_ context.Context, asJSON bool) error {
	list := models.List()
	if asJSON {
		return writeJSON(a.stdout, list)
	}
	var rows [][]string
	for _, m := range list {
		top1 := "–"
		if m.Top1 != nil {
			top1 = strconv.FormatFloat(*m.Top1, 'f', 1, 64)
		}
		rows = append(rows, []string{m.Name, m.Family, m.Source, m.Top1Source, strconv.Itoa(m.Resolution), count(m.Params), count(m.MACs), top1})
	}
	s := sheet{header: []string{"name", "family", "source", "top-1 source", "resolution", "params", "MACs", "top-1 %"}, rows: rows, numbers: 4}
	return s.print(a.stdout, a.width(), "", "top-1 source", "source", "family")
}

// An engineStatus is a row of `list engines`.
type engineStatus struct {
	Name      string  `json:"name"`
	Doc       string  `json:"doc"`
	Available bool    `json:"available"`
	Version   *string `json:"version"`
	Library   *string `json:"library"`
	SHA256    *string `json:"sha256"`
	Reason    *string `json:"reason"` // why it is not available
}

// engineStatuses tries every engine of the list.
func (a *app) engineStatuses(ctx context.Context) ([]engineStatus, error) {
	var list []engineStatus
	for _, d := range a.drivers {
		s, err := statusOf(ctx, d)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func statusOf(ctx context.Context, d engines.Driver) (engineStatus, error) {
	s := engineStatus{Name: d.Name, Doc: d.Doc}
	unavailable := func(err error) (engineStatus, error) {
		reason := err.Error()
		s.Reason = &reason
		return s, nil
	}
	device, err := firstDevice(d.Device)
	if err != nil {
		return unavailable(fmt.Errorf("engine %s unavailable: %w", d.Name, err))
	}
	defer device.Close()
	engine, err := d.Open(ctx, device)
	if err != nil {
		return unavailable(err)
	}
	info := engine.Info()
	s.Available, s.Version = true, &info.Version
	if info.Library != "" {
		s.Library, s.SHA256 = &info.Library, &info.SHA256
	}
	if err := engine.Close(); err != nil {
		return s, fmt.Errorf("close engine %s: %w", d.Name, err)
	}
	return s, nil
}

// firstDevice opens the host or the first GPU.
func firstDevice(kind hardware.DeviceKind) (hardware.Device, error) {
	if kind == hardware.CUDA {
		return hardware.Open("0")
	}
	return hardware.NewHost()
}

func (a *app) listEngines(ctx context.Context, asJSON bool) error {
	list, err := a.engineStatuses(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(a.stdout, list)
	}
	return a.writeEngines(list)
}

func (a *app) writeEngines(list []engineStatus) error {
	var rows [][]string
	for _, s := range list {
		available, version, library := "no", "–", "–"
		if s.Available {
			available, version = "yes", *s.Version
			if s.Library != nil {
				library = publicPath(*s.Library)
			} else {
				library = "built in"
			}
		}
		rows = append(rows, []string{s.Name, available, version, library, s.Doc})
	}
	s := sheet{header: []string{"engine", "available", "version", "library", "what it is"}, rows: rows, numbers: 5}
	if err := s.print(a.stdout, a.width(), "what it is", "library"); err != nil {
		return err
	}
	for _, m := range missingEngines(list) {
		fmt.Fprintln(a.stdout)
		paragraphs{a.stdout, a.width()}.write("", m)
	}
	return nil
}

// missingEngines says why engines are not available, once for several that lack the
// same thing, such as a GPU.
func missingEngines(list []engineStatus) []string {
	names := map[string][]string{}
	var reasons []string
	for _, s := range list {
		if s.Available {
			continue
		}
		reason := strings.TrimPrefix(*s.Reason, "engine "+s.Name+" unavailable: ")
		if names[reason] == nil {
			reasons = append(reasons, reason)
		}
		names[reason] = append(names[reason], s.Name)
	}
	lines := make([]string, len(reasons))
	for i, reason := range reasons {
		noun := "engine"
		if len(names[reason]) > 1 {
			noun = "engines"
		}
		lines[i] = fmt.Sprintf("%s %s unavailable: %s", noun, strings.Join(names[reason], ", "), reason)
	}
	return lines
}

func (a *app) listSuites(_ context.Context, asJSON bool) error {
	suites := bench.Suites()
	if asJSON {
		return writeJSON(a.stdout, suites)
	}
	p := paragraphs{a.stdout, a.width()}
	for _, s := range suites {
		p.write("", s.Name+": "+s.Doc)
		p.write("  models ", fmt.Sprint(s.Grid.Models))
		p.write("  precisions ", fmt.Sprint(s.Grid.Precisions))
		p.write("  batches ", fmt.Sprint(s.Grid.Batches))
	}
	return nil
}

func (a *app) listPrecisions(_ context.Context, asJSON bool) error {
	list := models.Precisions()
	if asJSON {
		return writeJSON(a.stdout, list)
	}
	var rows [][]string
	for _, p := range list {
		rows = append(rows, []string{string(p.Name), p.Doc, fmt.Sprint(p.Tolerance.MinCosine), fmt.Sprint(p.Tolerance.MaxRelErr)})
	}
	s := sheet{header: []string{"precision", "what it is", "least cosine", "largest error"}, rows: rows, numbers: 2}
	if err := s.print(a.stdout, a.width(), "what it is"); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	paragraphs{a.stdout, a.width()}.write("", "least cosine, largest error: how near to fp32 the logits must be; the error is over their root mean square")
	return nil
}

func (a *app) listProfiles(_ context.Context, asJSON bool) error {
	var list []bench.Protocol
	for _, p := range bench.Profiles() {
		protocol, err := bench.NewProtocol(p.Name)
		if err != nil {
			return err
		}
		list = append(list, protocol)
		if !asJSON {
			text := fmt.Sprintf("%s; aims for an interval of ±%g %%", p.Doc, 100*protocol.RelWidth)
			paragraphs{a.stdout, a.width()}.write(fmt.Sprintf("%-8s ", p.Name), text)
		}
	}
	if asJSON {
		return writeJSON(a.stdout, list)
	}
	return nil
}

func (a *app) listDoubts(_ context.Context, asJSON bool) error {
	list := bench.Codes()
	if asJSON {
		return writeJSON(a.stdout, list)
	}
	for _, c := range list {
		paragraphs{a.stdout, a.width()}.write("", fmt.Sprintf("%s: %s", c.Code, c.Means))
		paragraphs{a.stdout, a.width()}.write("  to fix it: ", c.Advice)
	}
	return nil
}

// knownPrecision checks a precision's name.
func knownPrecision(name string) error {
	var names []string
	for _, p := range models.Precisions() {
		if string(p.Name) == name {
			return nil
		}
		names = append(names, string(p.Name))
	}
	return unknown("precision", name, names, "genbench list precisions")
}

// knownEngine finds a driver by name.
func knownEngine(drivers []engines.Driver, name string) (engines.Driver, error) {
	var names []string
	for _, d := range drivers {
		if d.Name == name {
			return d, nil
		}
		names = append(names, d.Name)
	}
	return engines.Driver{}, unknown("engine", name, names, "genbench list engines")
}

// unknown is the error for a name that is not in a list: the nearest names, and
// how to see them all.
func unknown(what, name string, known []string, command string) error {
	text := fmt.Sprintf("unknown %s %q", what, name)
	for i, near := range models.Nearest(name, known) {
		if i == 0 {
			text += ": did you mean "
		} else {
			text += ", "
		}
		text += near
	}
	return errors.New(text + fmt.Sprintf("? `%s` lists them all", command))
}
