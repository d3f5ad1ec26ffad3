// A libnvidia-ml.so.1 without a driver. It answers what the environment says, at
// every call: FAKE_NVML_<KEY> is a number that replaces the default, and
// FAKE_NVML_RETURN is the code that every call about a device returns instead
// (nvmlReturn_t in nvml.h: 3 not supported, 15 GPU is lost). While the file that
// FAKE_NVML_LATER names exists, the number in it is returned instead; if it says
// "hang", the call does not return until the file is gone. Calls that set something
// return FAKE_NVML_SET_RETURN, and RESET_RETURN those that take it back, with
// SET_MEMORY_RETURN and RESET_MEMORY_RETURN for the memory's clock; each adds a line to
// the file that FAKE_NVML_RECORD names. FAKE_NVML_WITHHELD is the index of a board that
// may not be opened, FAKE_NVML_DRIVER the driver's version. Compiled with -DBARE it has only what a library needs to be NVML.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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
const char *nvmlErrorString(int code) { return code == 4 ? "Insufficient Permissions" : code == 16 ? "GPU requires reset" : code == 6 ? "Not Found" : code == 3 ? "Not Supported" : code == 9 ? "Driver Not Loaded" : code == 15 ? "GPU is lost" : "other"; }
int nvmlDeviceGetCount_v2(u32 *n) { *n = (u32)env("DEVICES", 1); return 0; }
int nvmlDeviceGetHandleByIndex_v2(u32 i, void **d) { *d = (void *)(size_t)(i + 1); return i == env("WITHHELD", 99) ? 4 : (int)env("HANDLE", 0); }
// UUID names the first board otherwise, as the double of the CUDA driver does its own.
static const char *named(void) { const char *uuid = getenv("FAKE_NVML_UUID"); return uuid ? uuid : "GPU-fake-0"; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **d) {
	if (strcmp(uuid, named()) == 0) return *d = (void *)1, 0;
	*d = (void *)(size_t)(atoi(uuid + 9) + 1);
	return strncmp(uuid, "GPU-fake-", 9) ? 6 : 0;
}
int nvmlDeviceGetUUID(void *d, char *out, u32 size) { return d == (void *)1 ? snprintf(out, size, "%s", named()), 0 : snprintf(out, size, (size_t)d > 100 ? "MIG-fake-%d" : "GPU-fake-%d", (int)(size_t)d % 100 - 1), 0; }
#ifndef BARE
static int answer(void) {
	const char *later = getenv("FAKE_NVML_LATER");
	char word[32];
	for (FILE *f; later && (f = fopen(later, "r")); usleep(1000)) {
		if (fscanf(f, "%31s", word) != 1) word[0] = 0;
		fclose(f);
		if (strcmp(word, "hang")) return atoi(word);
	}
	return (int)env("RETURN", 0);
}
static int text(char *out, u32 size, const char *what) { return snprintf(out, size, "%s", what) < (int)size ? answer() : 7; }
#define NUMBER(function, type, key, otherwise) \
	int function(void *d, type *out) { (void)d; *out = (type)env(key, otherwise); return answer(); }
#define PAIR(function, key) \
	int function(void *d, u32 *now, u32 *pending) { (void)d; *now = *pending = (u32)env(key, 0); return answer(); }
int nvmlSystemGetDriverVersion(char *out, u32 size) {
	const char *driver = getenv("FAKE_NVML_DRIVER");
	return snprintf(out, size, "%s", driver ? driver : "999.42"), 0;
}
int nvmlDeviceGetName(void *d, char *out, u32 size) { return text(out, size, (size_t)d > 100 ? "Fake GPU MIG 1g.10gb" : "Fake GPU"); }
int nvmlDeviceGetSerial(void *d, char *out, u32 size) { (void)d; return text(out, size, "0123456789"); }
int nvmlDeviceGetInforomImageVersion(void *d, char *out, u32 size) { (void)d; return text(out, size, "G500.0200.00.05"); }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13020; return 0; }
int nvmlSystemGetConfComputeState(u32 state[3]) { state[0] = 7; state[1] = (u32)env("CONFIDENTIAL", 0); state[2] = 7; return 0; }
int nvmlDeviceGetDefaultApplicationsClock(void *d, int kind, u32 *mhz) { (void)d; *mhz = kind == 1 ? 1095 : 7; return answer(); }
int nvmlDeviceGetPowerManagementLimitConstraints(void *d, u32 *low, u32 *high) { (void)d; *low = 200000; *high = 700000; return answer(); }
int nvmlDeviceGetTemperatureThreshold(void *d, int kind, u32 *c) { (void)d; *c = kind == 0 ? 92 : kind == 1 ? 89 : kind == 3 ? 87 : 7; return answer(); }
int nvmlDeviceGetSupportedMemoryClocks(void *d, u32 *room, u32 *mhz) {
	(void)d;
	if (*room < 2) return *room = 2, 7;
	*room = 2; mhz[0] = 2619; mhz[1] = 1593;
	return answer();
}
int nvmlDeviceGetSupportedGraphicsClocks(void *d, u32 memory, u32 *room, u32 *mhz) {
	(void)d;
	if (memory != 2619 && memory != 1593) return 6;
	if (*room < 3) return *room = 3, 7;
	*room = 3; mhz[0] = 1980; mhz[1] = memory == 2619 ? 1410 : 1200; mhz[2] = 345;
	return answer();
}
int nvmlDeviceGetMaxMigDeviceCount(void *d, u32 *n) { (void)d; *n = 3; return answer(); }
int nvmlDeviceGetMigDeviceHandleByIndex(void *d, u32 i, void **part) { (void)d; *part = (void *)(size_t)(101 + i); return i == 1 ? 6 : answer(); }
// record notes a call that changes something, after it took effect on nothing.
static int record(const char *key, const char *call, void *d, u32 low, u32 high) {
	int code = (int)env(key, 0);
	const char *path = getenv("FAKE_NVML_RECORD");
	FILE *f = path ? fopen(path, "a") : NULL;
	if (f) {
		fprintf(f, "%s %d %u %u %d\n", call, (int)(size_t)d - 1, low, high, code);
		fclose(f);
	}
	return code;
}
int nvmlDeviceSetGpuLockedClocks(void *d, u32 low, u32 high) { return record("SET_RETURN", "lock-sm", d, low, high); }
int nvmlDeviceSetMemoryLockedClocks(void *d, u32 low, u32 high) { return record("SET_MEMORY_RETURN", "lock-memory", d, low, high); }
int nvmlDeviceResetGpuLockedClocks(void *d) { return record("RESET_RETURN", "reset-sm", d, 0, 0); }
int nvmlDeviceResetMemoryLockedClocks(void *d) { return record(getenv("FAKE_NVML_RESET_MEMORY_RETURN") ? "RESET_MEMORY_RETURN" : "RESET_RETURN", "reset-memory", d, 0, 0); }
typedef struct { u32 id, scope; long long timestamp, latency; u32 type; int code; u64 value; } field;
int nvmlDeviceGetFieldValues(void *d, int n, field *f) {
	(void)d;
	for (int i = 0; i < n; i++) {
		f[i].type = f[i].id == 186 ? 1 : 3; // unsigned int, unsigned long long
		f[i].code = (int)env("FIELD_RETURN", 0);
		switch (f[i].id) {
		case 186: f[i].value = env("INSTANT_MW", 250500) | 7ULL << 32; break;
		case 74: f[i].value = env("POWER_VIOLATION", 5000000000); break;
		case 269: f[i].value = env("SW_THERMAL", 6000); break;
		case 270: f[i].value = env("HW_THERMAL", 0); break;
		case 271: f[i].value = env("HW_POWER_BRAKE", 0); break;
		default: f[i].code = 3;
		}
	}
	return answer();
}
int nvmlDeviceGetVbiosVersion(void *d, char *out, u32 size) { (void)d; return text(out, size, "01.02.03"); }
int nvmlDeviceGetPciInfo_v3(void *d, pci *p) { memset(p, 0, sizeof *p); p->bus = 0x65 + (u32)(size_t)d - 1; return answer(); }
int nvmlDeviceGetMemoryInfo(void *d, u64 m[3]) { (void)d; m[0] = 80ULL << 30; m[1] = m[0] - 5; m[2] = 5; return answer(); }
int nvmlDeviceGetCudaComputeCapability(void *d, int *major, int *minor) { (void)d; *major = 9; *minor = 1; return answer(); }
int nvmlDeviceGetClockInfo(void *d, int kind, u32 *mhz) { (void)d; *mhz = kind == 1 ? (u32)env("SM_CLOCK", 1410) : kind == 2 ? 2619 : 7; return answer(); }
int nvmlDeviceGetMaxClockInfo(void *d, int kind, u32 *mhz) { (void)d; *mhz = kind == 1 ? 1980 : kind == 2 ? 3201 : 7; return answer(); }
int nvmlDeviceGetTotalEccErrors(void *d, int type, int counter, u64 *n) { (void)d; *n = type == 1 && counter == 0 ? env("ECC_ERRORS", 0) : 77; return answer(); }
int nvmlDeviceGetViolationStatus(void *d, int policy, u64 v[2]) { (void)d; v[0] = 1; v[1] = policy == 0 ? 4000 : policy == 1 ? 5000 : 7; return answer(); }
NUMBER(nvmlDeviceGetPcieReplayCounter, u32, "REPLAYS", 6)
NUMBER(nvmlDeviceGetPerformanceState, u32, "P_STATE", 0)
NUMBER(nvmlDeviceGetPowerUsage, u32, "POWER_MW", 250500)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, u32, "LIMIT_MW", 700000)
// With TICK_MS the counter counts POWER_MW, in ticks.
int nvmlDeviceGetTotalEnergyConsumption(void *d, u64 *mJ) {
	(void)d;
	*mJ = env("ENERGY_MJ", 123456);
	if (env("TICK_MS", 0)) {
		struct timespec t;
		clock_gettime(CLOCK_MONOTONIC, &t);
		u64 ms = (u64)t.tv_sec * 1000 + (u64)t.tv_nsec / 1000000;
		*mJ = ms / env("TICK_MS", 0) * env("TICK_MS", 0) * env("POWER_MW", 250500) / 1000;
	}
	return answer();
}
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, u32, "DEFAULT_LIMIT_MW", 650000)
NUMBER(nvmlDeviceGetComputeMode, u32, "COMPUTE_MODE", 3)
NUMBER(nvmlDeviceGetArchitecture, u32, "ARCHITECTURE", 9)
NUMBER(nvmlDeviceGetPersistenceMode, u32, "PERSISTENCE", 1)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, u32, "PCIE", 5)
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, u32, "PCIE_MAX", 5)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, u32, "WIDTH", 16)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, u32, "WIDTH_MAX", 16)
PAIR(nvmlDeviceGetMigMode, "MIG")
PAIR(nvmlDeviceGetEccMode, "ECC")
// The board meets the fault XID once, after somebody began to listen.
typedef struct { void *device; u64 type, data; u32 gpu_instance, compute_instance; } event;
static int listened;
int nvmlEventSetCreate(void **set) { *set = &listened; return 0; }
int nvmlEventSetFree(void *set) { return set == &listened ? 0 : 2; }
int nvmlDeviceRegisterEvents(void *d, u64 types, void *set) { (void)d; listened = types == 8; return set == &listened ? answer() : 2; }
int nvmlEventSetWait_v2(void *set, event *e, u32 ms) {
	u64 xid = env("XID", 0);
	if (set != &listened || ms) return 2;
	if (!xid || !listened) return 10; // timeout
	listened = 0;
	*e = (event){NULL, 8, xid, ~0u, ~0u};
	return 0;
}
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
