/* A stand-in for libnvidia-ml.so.1: answers the real nvidia-ml-py from a file read at each call.
 * The file ($NVML_STUB_STATE): "hang 0|1", "absent 0|1", then a line a GPU:
 * "gpu UUID total_mib used_mib processes lost temperature_c". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK 0
#define DRIVER_NOT_LOADED 9
#define INSUFFICIENT_SIZE 7
#define NOT_SUPPORTED 3
#define INVALID_ARGUMENT 2
#define GPU_IS_LOST 15
#define GPUS_MAX 16

typedef struct { char uuid[80]; unsigned long long total, used; unsigned processes, lost, degrees; } Gpu;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
typedef struct { unsigned gpu, memory; } Use;
typedef struct { unsigned pid; unsigned long long used; unsigned instance, compute; } Process;

static Gpu gpus[GPUS_MAX];
static unsigned count;

/* Reads the file anew; a hang is a sleep without end, as in a driver that does not return. */
static int look(void) {
    const char *path = getenv("NVML_STUB_STATE");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[256];
    unsigned flag, absent = 0, hang = 0;
    if (!file) return DRIVER_NOT_LOADED;
    count = 0;
    while (fgets(line, sizeof line, file)) {
        Gpu *gpu = &gpus[count];
        if (sscanf(line, "hang %u", &flag) == 1) hang = flag;
        else if (sscanf(line, "absent %u", &flag) == 1) absent = flag;
        else if (count < GPUS_MAX && sscanf(line, "gpu %79s %llu %llu %u %u %u", gpu->uuid,
                 &gpu->total, &gpu->used, &gpu->processes, &gpu->lost, &gpu->degrees) == 6) count++;
    }
    fclose(file);
    while (hang) sleep(60);
    return absent ? DRIVER_NOT_LOADED : OK;
}

/* A handle is an index plus one. */
static int find(void *device, Gpu **gpu) {
    unsigned long index = (unsigned long)device - 1;
    int result = look();
    if (result) return result;
    if (index >= count) return INVALID_ARGUMENT;
    *gpu = &gpus[index];
    return (*gpu)->lost ? GPU_IS_LOST : OK;
}

#define ANSWER(name, type, value) \
    int name(void *device, type *out) { Gpu *gpu; int r = find(device, &gpu); \
        if (!r) { *out = (type)(value); } return r; }
#define ANSWER2(name, type, value) \
    int name(void *device, unsigned what, type *out) { Gpu *gpu; int r = find(device, &gpu); \
        (void)what; if (!r) { *out = (type)(value); } return r; }

int nvmlInitWithFlags(unsigned flags) { (void)flags; return look(); }
int nvmlInit_v2(void) { return look(); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) {
    return code == GPU_IS_LOST ? "GPU is lost" : code == DRIVER_NOT_LOADED ? "Driver Not Loaded" : "stub error";
}
int nvmlSystemGetDriverVersion(char *out, unsigned size) { snprintf(out, size, "570.00-stub"); return OK; }
int nvmlSystemGetCudaDriverVersion(int *out) { *out = 12080; return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 12080; return OK; }
int nvmlDeviceGetCount_v2(unsigned *out) { int r = look(); *out = count; return r; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    Gpu *gpu; *out = (void *)(unsigned long)(index + 1); return find(*out, &gpu);
}
int nvmlDeviceGetName(void *device, char *out, unsigned size) {
    Gpu *gpu; int r = find(device, &gpu); if (!r) { snprintf(out, size, "Stub GPU"); } return r;
}
int nvmlDeviceGetUUID(void *device, char *out, unsigned size) {
    Gpu *gpu; int r = find(device, &gpu); if (!r) { snprintf(out, size, "%s", gpu->uuid); } return r;
}
int nvmlDeviceGetMemoryInfo(void *device, Memory *out) {
    Gpu *gpu; int r = find(device, &gpu);
    if (!r) *out = (Memory){gpu->total << 20, (gpu->total - gpu->used) << 20, gpu->used << 20};
    return r;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, Memory2 *out) {
    Gpu *gpu; int r = find(device, &gpu);
    if (!r) { out->total = gpu->total << 20; out->reserved = 0; out->used = gpu->used << 20;
              out->free = out->total - out->used; }
    return r;
}
int nvmlDeviceGetUtilizationRates(void *device, Use *out) {
    Gpu *gpu; int r = find(device, &gpu); if (!r) { *out = (Use){gpu->processes ? 50 : 0, 10}; } return r;
}
ANSWER2(nvmlDeviceGetTemperature, unsigned, gpu->degrees)
ANSWER2(nvmlDeviceGetClockInfo, unsigned, 1980)
ANSWER(nvmlDeviceGetPowerUsage, unsigned, 350000)
ANSWER(nvmlDeviceGetEnforcedPowerLimit, unsigned, 700000)
ANSWER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, 123456789)
ANSWER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, 4)
int nvmlDeviceGetTotalEccErrors(void *device, unsigned kind, unsigned counter, unsigned long long *out) {
    (void)device; (void)kind; (void)counter; (void)out; return NOT_SUPPORTED;  /* as on cards without ECC */
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *size, Process *out) {
    Gpu *gpu; int r = find(device, &gpu);
    unsigned room = *size;
    if (r) return r;
    *size = gpu->processes;
    if (gpu->processes > room) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; out && i < gpu->processes; i++) out[i] = (Process){1000 + i, 1 << 20, 0, 0};
    return OK;
}
