package bench

import (
	"fmt"
	"time"
)

// ProtocolID names the measurement protocol whose rules this package follows;
// doc.go tells which and where.
const ProtocolID = "gbp-1"

// A Protocol is every number that decides how a point is measured. The effective
// one stands in the run's first journal line. Durations are nanoseconds in JSON.
type Protocol struct {
	ID      string `json:"id"`
	Profile string `json:"profile"`

	Launches int `json:"launches"` // fresh worker processes (S2)
	Rounds   int `json:"rounds"`   // visits to a point per launch (S2)

	// A round takes the larger of RoundSamples and RoundTime, but stops short of
	// RoundCap as long as RoundMin samples are in it (S1).
	RoundSamples int           `json:"round_samples"`
	RoundTime    time.Duration `json:"round_time_ns"`
	RoundCap     time.Duration `json:"round_cap_ns"`
	RoundMin     int           `json:"round_min_samples"`

	// Warm-up: at least both, and the last inference within WarmupWithin of the
	// median of the last five (W1).
	WarmupSamples int           `json:"warmup_samples"`
	WarmupTime    time.Duration `json:"warmup_time_ns"`
	WarmupWithin  float64       `json:"warmup_within"`

	// Settle is how long the first launch runs its heaviest point before anything
	// is timed (W2).
	Settle time.Duration `json:"settle_ns"`

	// Steady state is proven by three consecutive windows of at least both sizes
	// whose medians differ by no more than SteadyRatio and drift by less than
	// SteadyDrift; not met within SteadyCap, the round is marked unsteady (W4).
	WindowSamples int           `json:"window_samples"`
	WindowTime    time.Duration `json:"window_time_ns"`
	SteadyRatio   float64       `json:"steady_ratio"`
	SteadyDrift   float64       `json:"steady_drift"`
	SteadyCap     time.Duration `json:"steady_cap_ns"`

	// A round is dropped, kept in the journal with its reason and taken again up
	// to Retries times when more than DropSteal of the machine's time was stolen
	// by the hypervisor, or others used more than DropForeign cores (X).
	DropSteal   float64       `json:"drop_steal"`
	DropForeign float64       `json:"drop_foreign_cores"`
	Retries     int           `json:"retries"`
	RetryWait   time.Duration `json:"retry_wait_ns"`
	// TagSteal and TagForeign are the same figures above which a round that is kept
	// lowers its point's quality.
	TagSteal   float64 `json:"tag_steal"`
	TagForeign float64 `json:"tag_foreign_cores"`

	// Watchdog ends a worker that has said nothing for so long; a point whose
	// single inference is slow is given more.
	Watchdog time.Duration `json:"watchdog_ns"`

	// RelWidth is the half-width of the 95 % interval, relative to the median,
	// above which a result is called imprecise (S5).
	RelWidth float64 `json:"rel_width"`
}

// HostProtocol holds a host device's numbers before a profile sets how often all is
// replicated. It is the CPU twin of the protocol (section 14): inferences take
// milliseconds to seconds, so rounds are counted in tens of samples.
//
// Two defaults differ from the protocol's first figures, by measurement. On a
// two-core virtual machine with nothing of ours running, /proc/stat showed 2 to
// 8 % of the machine's time stolen, and up to 35 % while busy; dropping every
// round above 1 % would leave such a box without a result. So above 1 % is
// tagged, which costs the quality class, and above 10 % dropped. And `quick` gives
// up proving steadiness after 1.5 s rather than 10 and ends a round after 1 s
// rather than 2: on such a box most visits never settle to 1 %, and 56 of them
// took 6 minutes with 3 s and 2 s, past what an editing loop waits for. The mark
// `unsteady` tells the reader either way.
func HostProtocol() Protocol {
	return Protocol{
		ID:            ProtocolID,
		RoundSamples:  10,
		RoundTime:     500 * time.Millisecond,
		RoundCap:      2 * time.Second,
		RoundMin:      3,
		WarmupSamples: 3,
		WarmupTime:    300 * time.Millisecond,
		WarmupWithin:  0.20,
		Settle:        2 * time.Second,
		WindowSamples: 3,
		WindowTime:    200 * time.Millisecond,
		SteadyRatio:   1.01,
		SteadyDrift:   0.0025,
		SteadyCap:     10 * time.Second,
		DropSteal:     0.10,
		DropForeign:   0.5,
		Retries:       3,
		RetryWait:     500 * time.Millisecond,
		TagSteal:      0.01,
		TagForeign:    0.5,
		Watchdog:      60 * time.Second,
		RelWidth:      0.005,
	}
}

// A Profile is a named design: how often everything is replicated.
type Profile struct {
	Name string
	Doc  string
	set  func(*Protocol)
}

// Profiles lists the designs `--profile` takes.
func Profiles() []Profile {
	return []Profile{
		{"quick", "4 launches of 1 round: an editing loop and a first impression, no gate", func(p *Protocol) {
			p.Launches, p.Rounds = 4, 1
			p.SteadyCap = 1500 * time.Millisecond
			p.RoundCap = time.Second
			p.RelWidth = 0.05
		}},
	}
}

// NewProtocol gives the protocol of a profile on a host device.
func NewProtocol(profile string) (Protocol, error) {
	names := make([]string, 0, 1)
	for _, p := range Profiles() {
		if p.Name == profile {
			proto := HostProtocol()
			proto.Profile = profile
			p.set(&proto)
			return proto, nil
		}
		names = append(names, p.Name)
	}
	return Protocol{}, fmt.Errorf("unknown profile %q: want one of %v", profile, names)
}
