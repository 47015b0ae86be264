/* A stand-in for libnvidia-ml.so.1: answers the real nvidia-ml-py from a file read at each call.
 * The file ($NVML_STUB_STATE): "hang 0|1", "absent 0|1", "xid UUID NUMBER" (told once each, in
 * order, to whoever listens by then), and a line a GPU: "gpu UUID name=value name=value ...".
 * A name that is not there is not supported by that card. As with the real library, a GPU that was
 * seen lost stays so, and one that appears is not seen, until the library is initialised again.
 * Built with -DOLD it lacks what drivers before version 470 lack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define INSUFFICIENT_SIZE 7
#define DRIVER_NOT_LOADED 9
#define TIMEOUT 10
#define GPU_IS_LOST 15
#define GPUS_MAX 16
#define XIDS_MAX 256
#define XID_EVENT 8ULL
#define MIG 1000UL

typedef unsigned long long U64;
typedef struct { char uuid[80], fields[2048]; } Gpu;
typedef struct { char uuid[80]; U64 number; } Xid;
typedef struct { U64 total, free, used; } Memory;
typedef struct { unsigned version; U64 total, reserved, free, used; } Memory2;
typedef struct { unsigned gpu, memory; } Use;
typedef struct { unsigned pid; U64 used; unsigned instance, compute; } Process;
typedef struct { void *device; U64 type, data; unsigned instance, compute; } Event;
typedef struct { unsigned id, scope; long long at, latency; unsigned kind; int result;
                 union { double d; unsigned u; U64 q; } value; } Field;

static Gpu gpus[GPUS_MAX];
static Xid xids[XIDS_MAX];
static unsigned count, xid_count, told, count_at_start;
static int started;
static char lost[GPUS_MAX][80];
static unsigned lost_count;

/* Reads the file anew; a hang is a sleep without end, as in a driver that does not return. */
static int look(void) {
    const char *path = getenv("NVML_STUB_STATE");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[2200];
    unsigned flag, absent = 0, hang = 0;
    if (!file) return DRIVER_NOT_LOADED;
    count = xid_count = 0;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "hang %u", &flag) == 1) hang = flag;
        else if (sscanf(line, "absent %u", &flag) == 1) absent = flag;
        else if (xid_count < XIDS_MAX && sscanf(line, "xid %79s %llu", xids[xid_count].uuid,
                 &xids[xid_count].number) == 2) xid_count++;
        else if (count < GPUS_MAX && sscanf(line, "gpu %79s %2047[^\n]", gpus[count].uuid,
                 gpus[count].fields) == 2) count++;
    }
    fclose(file);
    while (hang) sleep(60);
    if (started && count > count_at_start) count = count_at_start;
    return absent ? DRIVER_NOT_LOADED : OK;
}

static int get(Gpu *gpu, const char *name, U64 *value) {
    char key[64];
    snprintf(key, sizeof key, " %s=", name);
    char line[2060];
    snprintf(line, sizeof line, " %s", gpu->fields);
    char *found = strstr(line, key);
    if (!found) return NOT_SUPPORTED;
    *value = strtoull(found + strlen(key), NULL, 10);
    return OK;
}

static U64 value_of(Gpu *gpu, const char *name) { U64 v = 0; get(gpu, name, &v); return v; }

/* A handle is an index plus one; of a MIG instance, that and a thousand for each place. */
static int find(void *device, Gpu **gpu) {
    unsigned long index = (unsigned long)device % MIG - 1;
    int result = started ? look() : UNINITIALIZED;
    if (result) return result;
    if (index >= count) return INVALID_ARGUMENT;
    *gpu = &gpus[index];
    for (unsigned i = 0; i < lost_count; i++) if (!strcmp(lost[i], (*gpu)->uuid)) return GPU_IS_LOST;
    if (!value_of(*gpu, "lost")) return OK;
    if (lost_count < GPUS_MAX) strcpy(lost[lost_count++], (*gpu)->uuid);
    return GPU_IS_LOST;
}

static int ask(void *device, const char *name, U64 *value) {
    Gpu *gpu; int r = find(device, &gpu);
    return r ? r : get(gpu, name, value);
}

#define ANSWER(function, type, name) \
    int function(void *device, type *out) { U64 v; int r = ask(device, name, &v); \
        if (!r) *out = (type)v; return r; }
#define CHOICE(function, type, ...) \
    int function(void *device, unsigned what, type *out) { \
        static const char *names[] = {__VA_ARGS__}; U64 v; \
        if (what >= sizeof names / sizeof *names) return INVALID_ARGUMENT; \
        int r = ask(device, names[what], &v); if (!r) *out = (type)v; return r; }

static int start(void) {
    started = 0;
    int r = look();
    if (!r) { started = 1; count_at_start = count; lost_count = 0; }
    return r;
}
int nvmlInitWithFlags(unsigned flags) { (void)flags; return start(); }
int nvmlInit_v2(void) { return start(); }
int nvmlShutdown(void) { started = 0; return OK; }
const char *nvmlErrorString(int code) {
    return code == GPU_IS_LOST ? "GPU is lost" : code == DRIVER_NOT_LOADED ? "Driver Not Loaded" : "stub error";
}
int nvmlSystemGetDriverVersion(char *out, unsigned size) { snprintf(out, size, "570.00-stub"); return OK; }
int nvmlSystemGetCudaDriverVersion(int *out) { *out = 12080; return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 12080; return OK; }
int nvmlDeviceGetCount_v2(unsigned *out) { int r = started ? look() : UNINITIALIZED; *out = count; return r; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    Gpu *gpu; *out = (void *)(unsigned long)(index + 1); return find(*out, &gpu);
}
int nvmlDeviceGetName(void *device, char *out, unsigned size) {
    Gpu *gpu; int r = find(device, &gpu); if (!r) { snprintf(out, size, "Stub GPU"); } return r;
}
int nvmlDeviceGetUUID(void *device, char *out, unsigned size) {
    Gpu *gpu; int r = find(device, &gpu);
    unsigned long place = (unsigned long)device / MIG;
    if (r) return r;
    if (place) snprintf(out, size, "MIG-%s-%lu", gpu->uuid, place - 1);
    else snprintf(out, size, "%s", gpu->uuid);
    return OK;
}
int nvmlDeviceGetMemoryInfo(void *device, Memory *out) {
    Gpu *gpu; int r = find(device, &gpu);
    U64 total, used;
    if (r) return r;
    total = value_of(gpu, "total"); used = value_of(gpu, "used") + value_of(gpu, "reserved");
    *out = (Memory){total << 20, (total - used) << 20, used << 20};
    return OK;
}
int nvmlDeviceGetUtilizationRates(void *device, Use *out) {
    Gpu *gpu; U64 v; int r = find(device, &gpu);
    if (!r && !(r = get(gpu, "utilisation", &v))) *out = (Use){v, value_of(gpu, "memory_use")};
    return r;
}
CHOICE(nvmlDeviceGetClockInfo, unsigned, "graphics_clock", "sm_clock", "memory_clock")
CHOICE(nvmlDeviceGetMaxClockInfo, unsigned, "graphics_clock_max", "sm_clock_max", "memory_clock_max")
ANSWER(nvmlDeviceGetPowerUsage, unsigned, "power")
ANSWER(nvmlDeviceGetEnforcedPowerLimit, unsigned, "power_limit")
ANSWER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, "power_default")
ANSWER(nvmlDeviceGetTotalEnergyConsumption, U64, "energy")
ANSWER(nvmlDeviceGetFanSpeed, unsigned, "fan")
ANSWER(nvmlDeviceGetPersistenceMode, unsigned, "persistence")
ANSWER(nvmlDeviceGetComputeMode, unsigned, "compute_mode")
ANSWER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, "pcie_generation")
ANSWER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, "pcie_generation_max")
ANSWER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, "pcie_width")
ANSWER(nvmlDeviceGetMaxPcieLinkWidth, unsigned, "pcie_width_max")
ANSWER(nvmlDeviceGetPcieReplayCounter, unsigned, "pcie_replays")
CHOICE(nvmlDeviceGetPcieThroughput, unsigned, "pcie_tx", "pcie_rx")
ANSWER(nvmlDeviceGetRetiredPagesPendingStatus, unsigned, "pages_pending")
int nvmlDeviceGetEccMode(void *device, unsigned *now, unsigned *next) {
    U64 v; int r = ask(device, "ecc", &v); if (!r) *now = *next = v; return r;
}
int nvmlDeviceGetTotalEccErrors(void *device, unsigned kind, unsigned counter, U64 *out) {
    static const char *names[] = {"ecc_corrected", "ecc_corrected_ever", "ecc_uncorrected", "ecc_uncorrected_ever"};
    return kind > 1 || counter > 1 ? INVALID_ARGUMENT : ask(device, names[kind * 2 + counter], out);
}
int nvmlDeviceGetRetiredPages(void *device, unsigned cause, unsigned *size, U64 *out) {
    U64 v; int r = ask(device, cause ? "pages_double" : "pages_single", &v);
    unsigned room = *size;
    if (r) return r;
    *size = v;
    if (v > room) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; out && i < v; i++) out[i] = i;
    return OK;
}
int nvmlDeviceGetSupportedEventTypes(void *device, U64 *out) {
    Gpu *gpu; int r = find(device, &gpu);
    if (!r) *out = value_of(gpu, "no_events") ? 0 : XID_EVENT;
    return r;
}
int nvmlEventSetCreate(void **out) { int r = look(); told = xid_count; *out = (void *)1UL; return r; }
int nvmlEventSetFree(void *set) { (void)set; return OK; }
int nvmlDeviceRegisterEvents(void *device, U64 kinds, void *set) {
    Gpu *gpu; (void)kinds; (void)set; return find(device, &gpu);
}
int nvmlEventSetWait_v2(void *set, Event *out, unsigned milliseconds) {
    int r = look();
    (void)set;
    if (r) return r;
    if (told >= xid_count) { usleep(milliseconds * 1000); return TIMEOUT; }
    for (unsigned i = 0; i < count; i++)
        if (!strcmp(gpus[i].uuid, xids[told].uuid))
            *out = (Event){(void *)(unsigned long)(i + 1), XID_EVENT, xids[told].number, -1, -1};
    told++;
    return OK;
}
static int list(void *device, unsigned *size, Process *out) {
    Gpu *gpu; int r = find(device, &gpu);
    unsigned room = *size, n;
    char key[16];
    if (r) return r;
    *size = n = value_of(gpu, "processes");
    if (n > room) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; out && i < n; i++) {
        U64 pid = 1000 + i, mib = 1;
        snprintf(key, sizeof key, "pid%u", i); get(gpu, key, &pid);
        snprintf(key, sizeof key, "mib%u", i); get(gpu, key, &mib);
        out[i] = (Process){pid, mib << 20, -1, -1};
    }
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v2(void *device, unsigned *size, Process *out) { return list(device, size, out); }
#ifdef OLD
ANSWER(nvmlDeviceGetCurrentClocksThrottleReasons, U64, "throttle")
CHOICE(nvmlDeviceGetTemperature, unsigned, "degrees")
#else
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *size, Process *out) { return list(device, size, out); }
ANSWER(nvmlDeviceGetCurrentClocksEventReasons, U64, "throttle")
typedef struct { unsigned version, sensor; int degrees; } Temperature;
#ifdef NEWEST /* a library that dropped what was deprecated */
int nvmlDeviceGetTemperatureV(void *device, Temperature *out) {
    U64 v; int r = ask(device, "degrees", &v); if (!r) out->degrees = (int)v; return r;
}
#else
CHOICE(nvmlDeviceGetTemperature, unsigned, "degrees")
#endif
int nvmlDeviceGetMemoryInfo_v2(void *device, Memory2 *out) {
    Gpu *gpu; int r = find(device, &gpu);
    if (r) return r;
    out->total = value_of(gpu, "total") << 20; out->used = value_of(gpu, "used") << 20;
    out->reserved = value_of(gpu, "reserved") << 20;
    out->free = out->total - out->used - out->reserved;
    return OK;
}
int nvmlDeviceGetRemappedRows(void *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    Gpu *gpu; U64 v; int r = find(device, &gpu);
    if (r || (r = get(gpu, "rows_corrected", &v))) return r;
    *corrected = v; *uncorrected = value_of(gpu, "rows_uncorrected");
    *pending = value_of(gpu, "rows_pending"); *failed = value_of(gpu, "rows_failed");
    return OK;
}
int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *next) {
    U64 v; int r = ask(device, "mig", &v); if (!r) *now = *next = v; return r;
}
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *out) { Gpu *gpu; int r = find(device, &gpu); *out = 7; return r; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **out) {
    Gpu *gpu; int r = find(device, &gpu);
    if (r) return r;
    if (index >= value_of(gpu, "mig_devices")) return NOT_FOUND;
    *out = (void *)((unsigned long)device + MIG * (index + 1));
    return OK;
}
int nvmlDeviceGetFieldValues(void *device, int n, Field *fields) {
    Gpu *gpu; U64 v; int r = find(device, &gpu);
    for (int i = 0; !r && i < n; i++) {
        fields[i].result = fields[i].id == 82 ? get(gpu, "memory_degrees", &v)
            : fields[i].id == 230 ? get(gpu, "recovery", &v) : NOT_SUPPORTED;
        if (!fields[i].result) { fields[i].kind = 1; fields[i].value.u = v; }
    }
    return r;
}
#endif
