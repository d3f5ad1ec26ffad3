// A libnvidia-ml.so.1 without a driver. It answers what the environment says, at
// every call: FAKE_NVML_<KEY> is a number that replaces the default, and
// FAKE_NVML_RETURN is the code that every call about a device returns instead
// (nvmlReturn_t in nvml.h: 3 not supported, 15 GPU is lost). Compiled with -DBARE
// it has only what a library needs to be NVML.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef struct { u32 pid; u64 memory; u32 gpu_instance, compute_instance; } process;
typedef struct { char legacy[16]; u32 domain, bus, device, id, subsystem; char bus_id[32]; } pci;
typedef struct { u32 version, sensor; int celsius; } temperature;

static u64 env(const char *key, u64 otherwise) {
	char name[64];
	snprintf(name, sizeof name, "FAKE_NVML_%s", key);
	const char *value = getenv(name);
	return value ? strtoull(value, NULL, 0) : otherwise;
}

int nvmlInit_v2(void) { return (int)env("INIT", 0); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == 6 ? "Not Found" : code == 3 ? "Not Supported" : code == 9 ? "Driver Not Loaded" : code == 15 ? "GPU is lost" : "other"; }
int nvmlDeviceGetCount_v2(u32 *n) { *n = (u32)env("DEVICES", 1); return 0; }
int nvmlDeviceGetHandleByIndex_v2(u32 i, void **d) { *d = (void *)(size_t)(i + 1); return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **d) { *d = (void *)(size_t)(atoi(uuid + 9) + 1); return strncmp(uuid, "GPU-fake-", 9) ? 6 : 0; }
int nvmlDeviceGetUUID(void *d, char *out, u32 size) { return snprintf(out, size, "GPU-fake-%d", (int)(size_t)d - 1), 0; }
#ifndef BARE
static int answer(void) { return (int)env("RETURN", 0); }
static int text(char *out, u32 size, const char *what) { return snprintf(out, size, "%s", what) < (int)size ? answer() : 7; }
#define NUMBER(function, type, key, otherwise) \
	int function(void *d, type *out) { (void)d; *out = (type)env(key, otherwise); return answer(); }
#define PAIR(function, key) \
	int function(void *d, u32 *now, u32 *pending) { (void)d; *now = *pending = (u32)env(key, 0); return answer(); }
int nvmlSystemGetDriverVersion(char *out, u32 size) { return snprintf(out, size, "999.42"), 0; }
int nvmlDeviceGetName(void *d, char *out, u32 size) { (void)d; return text(out, size, "Fake GPU"); }
int nvmlDeviceGetVbiosVersion(void *d, char *out, u32 size) { (void)d; return text(out, size, "01.02.03"); }
int nvmlDeviceGetPciInfo_v3(void *d, pci *p) { memset(p, 0, sizeof *p); p->bus = 0x65 + (u32)(size_t)d - 1; return answer(); }
int nvmlDeviceGetMemoryInfo(void *d, u64 m[3]) { (void)d; m[0] = 80ULL << 30; m[1] = m[0] - 5; m[2] = 5; return answer(); }
int nvmlDeviceGetCudaComputeCapability(void *d, int *major, int *minor) { (void)d; *major = 9; *minor = 1; return answer(); }
int nvmlDeviceGetClockInfo(void *d, int kind, u32 *mhz) { (void)d; *mhz = kind == 1 ? (u32)env("SM_CLOCK", 1410) : kind == 2 ? 2619 : 7; return answer(); }
int nvmlDeviceGetMaxClockInfo(void *d, int kind, u32 *mhz) { (void)d; *mhz = kind == 1 ? 1980 : kind == 2 ? 3201 : 7; return answer(); }
int nvmlDeviceGetTotalEccErrors(void *d, int type, int counter, u64 *n) { (void)d; *n = type == 1 && counter == 0 ? env("ECC_ERRORS", 0) : 77; return answer(); }
NUMBER(nvmlDeviceGetPerformanceState, u32, "P_STATE", 0)
NUMBER(nvmlDeviceGetPowerUsage, u32, "POWER_MW", 250500)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, u32, "LIMIT_MW", 700000)
NUMBER(nvmlDeviceGetTotalEnergyConsumption, u64, "ENERGY_MJ", 123456)
NUMBER(nvmlDeviceGetPersistenceMode, u32, "PERSISTENCE", 1)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, u32, "PCIE", 5)
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, u32, "PCIE_MAX", 5)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, u32, "WIDTH", 16)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, u32, "WIDTH_MAX", 16)
PAIR(nvmlDeviceGetMigMode, "MIG")
PAIR(nvmlDeviceGetEccMode, "ECC")
// OLD is a library from before the renamings of API 12 and 13.
#ifdef OLD
int nvmlDeviceGetTemperature(void *d, int sensor, u32 *c) { (void)d; *c = sensor == 0 ? (u32)env("CELSIUS", 41) : 0; return answer(); }
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, u64, "REASONS", 0x44)
#else
int nvmlDeviceGetTemperatureV(void *d, temperature *t) {
	(void)d;
	if (t->version != (sizeof *t | 1 << 24)) return 25; // a version it does not know
	t->celsius = t->sensor == 0 ? (int)env("CELSIUS", 41) : 0;
	return answer();
}
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, u64, "REASONS", 0x44)
#endif
static int processes(u64 pid, u32 *room, process *list) {
	u32 found = pid != 0;
	if (*room < found) return 7;
	if (found) list[0] = (process){(u32)pid, 1 << 20, ~0u, ~0u};
	*room = found;
	return answer();
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, u32 *room, process *list) { (void)d; return processes(env("COMPUTE_PID", 0), room, list); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *d, u32 *room, process *list) { (void)d; return processes(env("GRAPHICS_PID", 0), room, list); }
#endif
