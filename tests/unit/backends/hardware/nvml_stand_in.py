"""A stand-in for NVIDIA's management library, in C: two GPUs; the second has no energy counter and no clocks.

The locked clock of the first is the text of the file that ``NVML_STATE`` names, so that other processes see it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = r"""
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
static unsigned long long energy = 7000;
static const unsigned int clocks[] = {1980, 1500, 1200, 900, 600, 345};
static int first(void *device) { return (size_t)device == 1; }
static int keep(const char *text) {
    FILE *file = fopen(getenv("NVML_STATE"), "w");
    if (!file) return 4;
    fputs(text, file);
    return fclose(file) ? 4 : 0;
}
static int fill(const unsigned int *from, unsigned int n, unsigned int *count, unsigned int *to) {
    unsigned int room = *count;
    *count = n;
    if (!to || room < n) return 7;
    for (unsigned int i = 0; i < n; i++) to[i] = from[i];
    return 0;
}
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    *device = (void *)(size_t)(index + 1);
    return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
    if (!first(device)) return 3;
    energy += 500;
    *millijoules = energy;
    return 0;
}
int nvmlDeviceGetSupportedMemoryClocks(void *device, unsigned int *count, unsigned int *to) {
    static const unsigned int memory[] = {2619};
    return first(device) ? fill(memory, 1, count, to) : 3;
}
int nvmlDeviceGetSupportedGraphicsClocks(void *device, unsigned int memory, unsigned int *count, unsigned int *to) {
    return first(device) && memory == 2619 ? fill(clocks, 6, count, to) : 3;
}
int nvmlDeviceSetGpuLockedClocks(void *device, unsigned int low, unsigned int high) {
    char text[32];
    if (!first(device) || low != high) return 3;
    snprintf(text, sizeof text, "%u", high);
    return keep(text);
}
int nvmlDeviceResetGpuLockedClocks(void *device) { return first(device) ? keep("unlocked") : 3; }
int nvmlDeviceGetClockInfo(void *device, int type, unsigned int *megahertz) {
    FILE *file = fopen(getenv("NVML_STATE"), "r");
    if (!file) return 4;
    int found = fscanf(file, "%u", megahertz);
    fclose(file);
    if (found != 1) *megahertz = 1980;
    return first(device) && type == 0 ? 0 : 3;
}
"""


def built(folder: Path) -> str:
    """Build the library; return its path. The test is skipped where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the stand-in for NVIDIA's library")
    (folder / "nvml.c").write_text(SOURCE)
    library = folder / "libstandin.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(folder / "nvml.c")], check=True)
    return str(library)
