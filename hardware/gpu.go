package hardware

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// A GPU is one board as its driver describes it, for the journal. A nil field is
// unknown and has its reason in Reasons.
type GPU struct {
	UUID string  `json:"uuid"`
	Name *string `json:"name"`
	// SerialHash tells boards apart without publishing their numbers: the first 12
	// hexadecimal digits of the serial number's SHA-256.
	SerialHash        *string `json:"serial_hash"`
	Driver            *string `json:"driver"`
	CUDADriver        *string `json:"cuda_driver"` // the newest CUDA that the driver runs, such as "13.0"
	PCIBusID          *string `json:"pci_bus_id"`  // as the kernel and CUDA write it: 0000:65:00.0
	VBIOS             *string `json:"vbios"`
	Inforom           *string `json:"inforom"` // version of the image
	MemoryBytes       *int64  `json:"memory_bytes"`
	ComputeCapability *string `json:"compute_capability"` // such as "9.0"
	ComputeMode       *string `json:"compute_mode"`       // who may use the board: default, exclusive_process, prohibited

	MaxSMClockMHz     *int `json:"max_sm_clock_mhz"`
	MaxMemoryClockMHz *int `json:"max_memory_clock_mhz"`
	// BaseSMClockMHz is the default applications clock, which makers state as a board's
	// base clock. CUDA 14 is to drop it (nvml.h, API 13).
	BaseSMClockMHz *int `json:"base_sm_clock_mhz"`
	// SMClocksMHz are those that can be locked with the highest memory clock.
	SMClocksMHz     []int `json:"supported_sm_clocks_mhz"`
	MemoryClocksMHz []int `json:"supported_memory_clocks_mhz"`

	PowerLimitW        *float64 `json:"power_limit_enforced_w"`
	PowerLimitDefaultW *float64 `json:"power_limit_default_w"`
	PowerLimitMinW     *float64 `json:"power_limit_min_w"`
	PowerLimitMaxW     *float64 `json:"power_limit_max_w"`

	// At SlowdownC the hardware slows down, at ShutdownC it stops; MaxOperatingC is
	// where the driver begins to lower clocks.
	SlowdownC     *int `json:"temperature_slowdown_c"`
	ShutdownC     *int `json:"temperature_shutdown_c"`
	MaxOperatingC *int `json:"temperature_max_operating_c"`

	Persistence *bool `json:"persistence"` // the driver stays loaded while nobody uses the GPU
	MIG         *bool `json:"mig"`
	// MIGInstances are the parts of a board that is split up; empty where it is not.
	MIGInstances          []MIGInstance `json:"mig_instances"`
	ECC                   *bool         `json:"ecc"`
	ConfidentialComputing *bool         `json:"confidential_compute"`
	PCIe                  *PCIe         `json:"pcie"`
	NUMANode              *int          `json:"numa_node"` // whose CPUs and memory are nearest

	Reasons Reasons `json:"-"` // why a field is nil
}

// A MIGInstance is one part of a board.
type MIGInstance struct {
	UUID    string `json:"mig_uuid"`
	Profile string `json:"mig_profile"` // such as "1g.10gb"
}

// PCIe is the state of a link. Its generation falls at idle to save power, its
// width does not.
type PCIe struct {
	Generation    int `json:"generation"`
	MaxGeneration int `json:"max_generation"` // of GPU and slot together
	Width         int `json:"width"`          // lanes
	MaxWidth      int `json:"max_width"`
}

// MarshalJSON puts each reason beside its field.
func (g GPU) MarshalJSON() ([]byte, error) {
	type plain GPU
	return marshalWithReasons(plain(g), g.Reasons)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (g *GPU) UnmarshalJSON(b []byte) error {
	type plain GPU
	return unmarshalWithReasons(b, (*plain)(g), &g.Reasons)
}

// GPUs describes all GPUs that the driver shows, in the order of the PCI bus; CUDA's
// order may differ. One that this user may not open, as in a container that was given
// others, is left out, see Withheld. A GPU that can't be opened for another reason or
// has no UUID is an error, because nothing measured on it could be told from another's;
// a lost one wraps ErrGPULost.
func (n *NVML) GPUs() ([]GPU, error) {
	fail := func(err error) ([]GPU, error) { return nil, fmt.Errorf("list GPUs: %w", err) }
	devices, err := ask(n, n.library.DeviceGetCount, "nvmlDeviceGetCount_v2", "nvmlDeviceGetCount")
	if err != nil {
		return fail(err)
	}
	gpus := []GPU{}
	n.withheld = nil
	for i := range devices {
		device, err := n.device(i)
		var refused *nvmlError
		if errors.As(err, &refused) && refused.code == nvml.ERROR_NO_PERMISSION {
			// nvml.h, nvmlDeviceGetCount_v2: those are counted, too.
			n.withheld = errors.Join(n.withheld, fmt.Errorf("GPU %d: %w", i, err))
			continue
		}
		if err != nil {
			return fail(fmt.Errorf("GPU %d: %w", i, err))
		}
		gpu, err := n.describe(device)
		if err != nil {
			return fail(fmt.Errorf("GPU %d: %w", i, err))
		}
		gpus = append(gpus, gpu)
	}
	return gpus, nil
}

// Withheld is why GPUs of this machine are not among those that GPUs last gave; nil if
// all are.
func (n *NVML) Withheld() error { return n.withheld }

func (n *NVML) device(index int) (nvml.Device, error) {
	return ask(n, func() (nvml.Device, nvml.Return) { return n.library.DeviceGetHandleByIndex(index) },
		"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex")
}

// find opens the GPU with the UUID.
func (n *NVML) find(uuid string) (nvml.Device, error) {
	return ask(n, func() (nvml.Device, nvml.Return) { return n.library.DeviceGetHandleByUUID(uuid) },
		"nvmlDeviceGetHandleByUUID")
}

// A system is what the driver says of itself.
type system struct {
	driver, cuda attempt[string]
	confidential attempt[bool]
}

func (n *NVML) readSystem() (s system) {
	s.driver = try(ask(n, n.library.SystemGetDriverVersion, "nvmlSystemGetDriverVersion"))
	cuda, err := ask(n, n.library.SystemGetCudaDriverVersion_v2, "nvmlSystemGetCudaDriverVersion_v2")
	// nvml.h: 1000 x major + 10 x minor.
	s.cuda = try(convert(cuda, err, func(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }))
	state, err := ask(n, n.library.SystemGetConfComputeState, "nvmlSystemGetConfComputeState")
	s.confidential = try(convert(state, err, func(c nvml.ConfComputeSystemState) bool { return c.CcFeature != 0 }))
	return s
}

func (n *NVML) describe(d nvml.Device) (GPU, error) {
	uuid, err := ask(n, d.GetUUID, "nvmlDeviceGetUUID")
	if err != nil {
		return GPU{}, err
	}
	g := GPU{UUID: uuid}
	r := &g.Reasons
	g.Name = try(ask(n, d.GetName, "nvmlDeviceGetName")).or(r, "name")
	serial, err := ask(n, d.GetSerial, "nvmlDeviceGetSerial")
	g.SerialHash = try(convert(serial, err, shortHash)).or(r, "serial_hash")
	g.Driver = n.system.driver.or(r, "driver")
	g.CUDADriver = n.system.cuda.or(r, "cuda_driver")
	g.ConfidentialComputing = n.system.confidential.or(r, "confidential_compute")
	pci, err := ask(n, d.GetPciInfo, "nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2", "nvmlDeviceGetPciInfo")
	g.PCIBusID = try(convert(pci, err, busID)).or(r, "pci_bus_id")
	if g.PCIBusID == nil {
		r.add("numa_node", "%s", (*r)["pci_bus_id"])
	} else {
		g.NUMANode = try(n.numaNode(*g.PCIBusID)).or(r, "numa_node")
	}
	g.VBIOS = try(ask(n, d.GetVbiosVersion, "nvmlDeviceGetVbiosVersion")).or(r, "vbios")
	g.Inforom = try(ask(n, d.GetInforomImageVersion, "nvmlDeviceGetInforomImageVersion")).or(r, "inforom")
	memory, err := ask(n, d.GetMemoryInfo, "nvmlDeviceGetMemoryInfo")
	g.MemoryBytes = try(convert(memory, err, func(m nvml.Memory) int64 { return int64(m.Total) })).or(r, "memory_bytes")
	g.ComputeCapability = try(ask(n, func() (string, nvml.Return) {
		major, minor, code := d.GetCudaComputeCapability()
		return fmt.Sprintf("%d.%d", major, minor), code
	}, "nvmlDeviceGetCudaComputeCapability")).or(r, "compute_capability")
	mode, err := ask(n, d.GetComputeMode, "nvmlDeviceGetComputeMode")
	g.ComputeMode = try(convert(mode, err, computeMode)).or(r, "compute_mode")
	n.describeClocks(d, &g)
	n.describeLimits(d, &g)
	persistence, err := ask(n, d.GetPersistenceMode, "nvmlDeviceGetPersistenceMode")
	g.Persistence = try(convert(persistence, err, enabled)).or(r, "persistence")
	n.describeMIG(d, &g)
	g.ECC = try(ask(n, func() (bool, nvml.Return) {
		current, _, code := d.GetEccMode()
		return enabled(current), code
	}, "nvmlDeviceGetEccMode")).or(r, "ecc")
	g.PCIe = try(n.pcie(d)).or(r, "pcie")
	return g, nil
}

func (n *NVML) describeClocks(d nvml.Device, g *GPU) {
	r := &g.Reasons
	g.MaxSMClockMHz = try(n.clock(d.GetMaxClockInfo, nvml.CLOCK_SM, "nvmlDeviceGetMaxClockInfo")).or(r, "max_sm_clock_mhz")
	g.MaxMemoryClockMHz = try(n.clock(d.GetMaxClockInfo, nvml.CLOCK_MEM, "nvmlDeviceGetMaxClockInfo")).or(r, "max_memory_clock_mhz")
	g.BaseSMClockMHz = try(n.clock(d.GetDefaultApplicationsClock, nvml.CLOCK_SM, "nvmlDeviceGetDefaultApplicationsClock")).or(r, "base_sm_clock_mhz")
	memory, err := n.memoryClocks(g.UUID)
	if err == nil && len(memory) == 0 {
		err = errors.New("the board lists no memory clock")
	}
	if err != nil {
		r.add("supported_memory_clocks_mhz", "%v", err)
		r.add("supported_sm_clocks_mhz", "%v", err)
		return
	}
	g.MemoryClocksMHz = memory
	if g.SMClocksMHz, err = n.graphicsClocks(g.UUID, memory[len(memory)-1]); err != nil {
		r.add("supported_sm_clocks_mhz", "%v", err)
	}
}

func (n *NVML) describeLimits(d nvml.Device, g *GPU) {
	r := &g.Reasons
	watts := func(mW uint32, err error) attempt[float64] { return try(convert(mW, err, fromMilli)) }
	g.PowerLimitW = watts(ask(n, d.GetEnforcedPowerLimit, "nvmlDeviceGetEnforcedPowerLimit")).or(r, "power_limit_enforced_w")
	g.PowerLimitDefaultW = watts(ask(n, d.GetPowerManagementDefaultLimit, "nvmlDeviceGetPowerManagementDefaultLimit")).or(r, "power_limit_default_w")
	limits, err := ask(n, func() ([2]uint32, nvml.Return) {
		low, high, code := d.GetPowerManagementLimitConstraints()
		return [2]uint32{low, high}, code
	}, "nvmlDeviceGetPowerManagementLimitConstraints")
	g.PowerLimitMinW = watts(limits[0], err).or(r, "power_limit_min_w")
	g.PowerLimitMaxW = watts(limits[1], err).or(r, "power_limit_max_w")
	for _, t := range []struct {
		key   string
		value **int
		kind  nvml.TemperatureThresholds
	}{
		{"temperature_slowdown_c", &g.SlowdownC, nvml.TEMPERATURE_THRESHOLD_SLOWDOWN},
		{"temperature_shutdown_c", &g.ShutdownC, nvml.TEMPERATURE_THRESHOLD_SHUTDOWN},
		{"temperature_max_operating_c", &g.MaxOperatingC, nvml.TEMPERATURE_THRESHOLD_GPU_MAX},
	} {
		celsius, err := ask(n, func() (uint32, nvml.Return) { return d.GetTemperatureThreshold(t.kind) }, "nvmlDeviceGetTemperatureThreshold")
		*t.value = try(int(celsius), err).or(r, t.key)
	}
}

func (n *NVML) describeMIG(d nvml.Device, g *GPU) {
	r := &g.Reasons
	g.MIG = try(ask(n, func() (bool, nvml.Return) {
		current, _, code := d.GetMigMode()
		return current == nvml.DEVICE_MIG_ENABLE, code
	}, "nvmlDeviceGetMigMode")).or(r, "mig")
	switch {
	case g.MIG == nil:
		r.add("mig_instances", "%s", (*r)["mig"])
	case !*g.MIG:
		g.MIGInstances = []MIGInstance{}
	default:
		var err error
		if g.MIGInstances, err = n.migInstances(d); err != nil {
			r.add("mig_instances", "%v", err)
		}
	}
}

// migInstances lists the parts that a board's slots hold.
func (n *NVML) migInstances(d nvml.Device) ([]MIGInstance, error) {
	places, err := ask(n, d.GetMaxMigDeviceCount, "nvmlDeviceGetMaxMigDeviceCount")
	if err != nil {
		return nil, err
	}
	instances := []MIGInstance{}
	for i := range places {
		part, err := ask(n, func() (nvml.Device, nvml.Return) { return d.GetMigDeviceHandleByIndex(i) }, "nvmlDeviceGetMigDeviceHandleByIndex")
		var refused *nvmlError
		if errors.As(err, &refused) && refused.code == nvml.ERROR_NOT_FOUND {
			continue // an empty slot
		}
		if err != nil {
			return nil, err
		}
		uuid, err := ask(n, part.GetUUID, "nvmlDeviceGetUUID")
		if err != nil {
			return nil, err
		}
		name, err := ask(n, part.GetName, "nvmlDeviceGetName")
		if err != nil {
			return nil, err
		}
		// As "NVIDIA H100 80GB HBM3 MIG 1g.10gb".
		_, profile, _ := strings.Cut(name, "MIG ")
		instances = append(instances, MIGInstance{uuid, profile})
	}
	return instances, nil
}

// numaNode asks the kernel which memory a PCI device is attached to.
func (n *NVML) numaNode(busID string) (int, error) {
	node, err := n.tree.integer("sys/bus/pci/devices/" + busID + "/numa_node")
	if err == nil && node < 0 {
		err = errors.New("the kernel knows no NUMA node of the board")
	}
	return int(node), err
}

// shortHash distinguishes names without publishing them.
func shortHash(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])[:12]
}

// computeMode names nvmlComputeMode_t of nvml.h.
func computeMode(m nvml.ComputeMode) string {
	switch m {
	case nvml.COMPUTEMODE_DEFAULT:
		return "default"
	case nvml.COMPUTEMODE_EXCLUSIVE_THREAD:
		return "exclusive_thread"
	case nvml.COMPUTEMODE_PROHIBITED:
		return "prohibited"
	case nvml.COMPUTEMODE_EXCLUSIVE_PROCESS:
		return "exclusive_process"
	}
	return fmt.Sprintf("%d", m)
}

// busID writes the PCI address as sysfs does. NVML's own text has a domain of
// eight digits.
func busID(p nvml.PciInfo) string {
	return fmt.Sprintf("%04x:%02x:%02x.0", p.Domain, p.Bus, p.Device)
}

func enabled(s nvml.EnableState) bool { return s == nvml.FEATURE_ENABLED }

// fromMilli is for milliwatts and millijoules.
func fromMilli[N uint32 | uint64](m N) float64 { return float64(m) / 1000 }

func (n *NVML) clock(call func(nvml.ClockType) (uint32, nvml.Return), kind nvml.ClockType, symbol string) (int, error) {
	mhz, err := ask(n, func() (uint32, nvml.Return) { return call(kind) }, symbol)
	return int(mhz), err
}

func (n *NVML) pcie(d nvml.Device) (p PCIe, err error) {
	for _, one := range []struct {
		value  *int
		call   func() (int, nvml.Return)
		symbol string
	}{
		{&p.Generation, d.GetCurrPcieLinkGeneration, "nvmlDeviceGetCurrPcieLinkGeneration"},
		{&p.MaxGeneration, d.GetMaxPcieLinkGeneration, "nvmlDeviceGetMaxPcieLinkGeneration"},
		{&p.Width, d.GetCurrPcieLinkWidth, "nvmlDeviceGetCurrPcieLinkWidth"},
		{&p.MaxWidth, d.GetMaxPcieLinkWidth, "nvmlDeviceGetMaxPcieLinkWidth"},
	} {
		if *one.value, err = ask(n, one.call, one.symbol); err != nil {
			return PCIe{}, err
		}
	}
	return p, nil
}

// uncorrectable counts the memory errors since the driver was loaded.
func (n *NVML) uncorrectable(d nvml.Device) (uint64, error) {
	return ask(n, func() (uint64, nvml.Return) {
		return d.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC)
	}, "nvmlDeviceGetTotalEccErrors")
}
