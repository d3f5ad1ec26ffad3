package hardware

import (
	"fmt"
	"math/bits"
)

// EventReasons is NVML's mask of why a GPU's clocks are what they are. The bits
// are the driver's, so the mask of a later driver is kept whole.
type EventReasons uint64

// The reasons, with the values of nvmlClocksEventReasons in nvml.h (API 13), under
// its newer names where a reason has two.
const (
	GPUIdle                   EventReasons = 0x1
	ApplicationsClocksSetting EventReasons = 0x2
	SWPowerCap                EventReasons = 0x4
	HWSlowdown                EventReasons = 0x8
	SyncBoost                 EventReasons = 0x10
	SWThermalSlowdown         EventReasons = 0x20
	HWThermalSlowdown         EventReasons = 0x40
	HWPowerBrakeSlowdown      EventReasons = 0x80
	DisplayClockSetting       EventReasons = 0x100
	BoardLimit                EventReasons = 0x200
	Reliability               EventReasons = 0x400
)

// Names says the mask in words, lowest bit first; a bit that this program does not
// know is its number, such as "0x800". No reason is the empty list.
func (e EventReasons) Names() []string {
	names := []string{}
	for rest := uint64(e); rest != 0; rest &= rest - 1 {
		bit := EventReasons(1) << bits.TrailingZeros64(rest)
		names = append(names, bit.name())
	}
	return names
}

func (bit EventReasons) name() string {
	switch bit {
	case GPUIdle:
		return "gpu_idle"
	case ApplicationsClocksSetting:
		return "applications_clocks_setting"
	case SWPowerCap:
		return "sw_power_cap"
	case HWSlowdown:
		return "hw_slowdown"
	case SyncBoost:
		return "sync_boost"
	case SWThermalSlowdown:
		return "sw_thermal_slowdown"
	case HWThermalSlowdown:
		return "hw_thermal_slowdown"
	case HWPowerBrakeSlowdown:
		return "hw_power_brake_slowdown"
	case DisplayClockSetting:
		return "display_clock_setting"
	case BoardLimit:
		return "board_limit"
	case Reliability:
		return "reliability"
	}
	return fmt.Sprintf("%#x", uint64(bit))
}
