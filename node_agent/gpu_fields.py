"""One GPU's fields by NVML, each optional: what a card, a driver or a library has not is left out.

``quick`` costs some microseconds a field; ``slow`` has the calls that change seldom, or that take
long (PCIe throughput is measured by the driver over 20 ms). Both answer with fields of
``kernel.wire.readings.GpuReading`` by their names: the reader's process loads no wire (it is to
stay small), and the agent checks what it says.
"""

from __future__ import annotations

from collections.abc import Callable

import pynvml

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself is not loaded
    from typing import Any

MIB = 1 << 20
TEMPERATURE_MAX_C = 1000
_GONE = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNINITIALIZED)
_OFF_THE_SCALE = 2**53


def asked(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """The answer, or None where this card, driver or library cannot tell.

    A lost GPU is passed on. A library without the function raises ``FunctionNotFound``, and a
    binding of another age may lack the name itself: see ``maybe``.
    """
    try:
        return call(*arguments, **named)
    except pynvml.NVMLError as error:
        if error.value in _GONE:
            raise
        return None


def maybe(name: str, *arguments: Any) -> Any:
    """As ``asked``, by the name in the binding; None where the binding does not know it."""
    call = getattr(pynvml, name, None)
    return None if call is None else asked(call, *arguments)


def quick(handle: Any) -> dict[str, Any]:
    """What changes from second to second. Raises ``NVMLError`` when the GPU is lost."""
    memory = _memory(handle)
    use = asked(pynvml.nvmlDeviceGetUtilizationRates, handle)
    reserved = int(memory.reserved) // MIB if hasattr(memory, "reserved") else None
    return {
        "uuid": text(pynvml.nvmlDeviceGetUUID(handle)),
        "name": text(pynvml.nvmlDeviceGetName(handle)),
        "memory_total_mib": int(memory.total) // MIB,
        "memory_used_mib": int(memory.used) // MIB,
        "memory_reserved_mib": reserved,
        "utilisation_percent": _percent(use and use.gpu),
        "memory_utilisation_percent": _percent(use and use.memory),
        "temperature_c": _temperature(handle),
        "power_mw": _count(asked(pynvml.nvmlDeviceGetPowerUsage, handle)),
        "energy_mj": _count(asked(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle)),
        "sm_clock_mhz": _clock(handle, pynvml.NVML_CLOCK_SM),
        "memory_clock_mhz": _clock(handle, pynvml.NVML_CLOCK_MEM),
        "throttle_reasons": _throttle(handle),
    }


def slow(handle: Any) -> dict[str, Any]:
    """Fields that change seldom or take long to read."""
    return {
        **_limits(handle),
        **_errors(handle),
        **_pcie(handle),
        **_modes(handle),
    }


def processes(handle: Any) -> list[tuple[int, int | None]]:
    """Who computes here now, by process id, and MiB where the driver tells them; each once."""
    found: dict[int, int | None] = {}
    for version in (3, 2):
        listed = maybe(f"nvmlDeviceGetComputeRunningProcesses_v{version}", handle)
        if listed is None:
            continue  # a library of before version 3
        for one in listed:
            used = one.usedGpuMemory
            found[int(one.pid)] = None if used is None else int(used) // MIB
        break
    return list(found.items())


def text(value: str | bytes) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


def _limits(handle: Any) -> dict[str, Any]:
    return {
        "power_limit_mw": _count(asked(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        "power_default_limit_mw": _count(
            asked(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)
        ),
        "sm_clock_max_mhz": _count(
            asked(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM)
        ),
        "memory_clock_max_mhz": _count(
            asked(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_MEM)
        ),
        "memory_temperature_c": _memory_temperature(handle),
        "fan_percent": _count(asked(pynvml.nvmlDeviceGetFanSpeed, handle), 1000),
    }


def _errors(handle: Any) -> dict[str, Any]:
    mode = asked(pynvml.nvmlDeviceGetEccMode, handle)
    rows = asked(pynvml.nvmlDeviceGetRemappedRows, handle)
    pending = asked(pynvml.nvmlDeviceGetRetiredPagesPendingStatus, handle)
    single = pynvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS
    double = pynvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR
    corrected, uncorrected = (
        pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED,
        pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
    )
    volatile, ever = pynvml.NVML_VOLATILE_ECC, pynvml.NVML_AGGREGATE_ECC

    def ecc(kind: int, span: int) -> int | None:
        return _count(asked(pynvml.nvmlDeviceGetTotalEccErrors, handle, kind, span))

    return {
        "ecc": None if mode is None else bool(mode[0]),
        "ecc_corrected": ecc(corrected, volatile),
        "ecc_uncorrected": ecc(uncorrected, volatile),
        "ecc_corrected_ever": ecc(corrected, ever),
        "ecc_uncorrected_ever": ecc(uncorrected, ever),
        "rows_remapped_corrected": None if rows is None else rows[0],
        "rows_remapped_uncorrected": None if rows is None else rows[1],
        "rows_pending": None if rows is None else bool(rows[2]),
        "rows_failed": None if rows is None else bool(rows[3]),
        "pages_retired_corrected": _pages(handle, single),
        "pages_retired_uncorrected": _pages(handle, double),
        "pages_pending": None if pending is None else bool(pending),
        "recovery_action": _field(handle, pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION),
    }


def _pcie(handle: Any) -> dict[str, Any]:
    sent, received = pynvml.NVML_PCIE_UTIL_TX_BYTES, pynvml.NVML_PCIE_UTIL_RX_BYTES
    return {
        "pcie_generation": _count(asked(pynvml.nvmlDeviceGetCurrPcieLinkGeneration, handle)),
        "pcie_generation_max": _count(asked(pynvml.nvmlDeviceGetMaxPcieLinkGeneration, handle)),
        "pcie_width": _count(asked(pynvml.nvmlDeviceGetCurrPcieLinkWidth, handle)),
        "pcie_width_max": _count(asked(pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle)),
        "pcie_rx_kib_s": _count(asked(pynvml.nvmlDeviceGetPcieThroughput, handle, received)),
        "pcie_tx_kib_s": _count(asked(pynvml.nvmlDeviceGetPcieThroughput, handle, sent)),
        "pcie_replays": _count(asked(pynvml.nvmlDeviceGetPcieReplayCounter, handle)),
    }


def _modes(handle: Any) -> dict[str, Any]:
    persistence = asked(pynvml.nvmlDeviceGetPersistenceMode, handle)
    mig = asked(pynvml.nvmlDeviceGetMigMode, handle)
    return {
        "persistence": None if persistence is None else bool(persistence),
        "compute_mode": _count(asked(pynvml.nvmlDeviceGetComputeMode, handle)),
        "mig": None if mig is None else bool(mig[0]),
        "mig_devices": _mig_devices(handle) if mig is not None and mig[0] else [],
    }


def _mig_devices(handle: Any) -> list[str]:
    """UUIDs of the instances; places without one answer "not found"."""
    found = []
    for index in range(min(asked(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0, 16)):
        instance = asked(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        uuid = None if instance is None else asked(pynvml.nvmlDeviceGetUUID, instance)
        if uuid is not None:
            found.append(text(uuid))
    return found


def _memory(handle: Any) -> Any:
    """Version 2 tells used memory without what the driver reserves; old drivers have 1 only."""
    found = asked(pynvml.nvmlDeviceGetMemoryInfo, handle, version=pynvml.nvmlMemory_v2)
    return found if found is not None else pynvml.nvmlDeviceGetMemoryInfo(handle)


def _temperature(handle: Any) -> int | None:
    """``nvmlDeviceGetTemperature`` is deprecated and may go: then its successor is asked."""
    sensor = pynvml.NVML_TEMPERATURE_GPU
    found = asked(pynvml.nvmlDeviceGetTemperature, handle, sensor)
    if found is None:
        found = maybe("nvmlDeviceGetTemperatureV", handle, sensor)
    return _count(found, TEMPERATURE_MAX_C)


def _memory_temperature(handle: Any) -> int | None:
    """By field 82; cards without the sensor answer with an error or with 0."""
    return _count(_field(handle, pynvml.NVML_FI_DEV_MEMORY_TEMP), TEMPERATURE_MAX_C) or None


def _field(handle: Any, number: int) -> int | None:
    """One of the fields that are asked for by number and told as an unsigned integer."""
    values = asked(pynvml.nvmlDeviceGetFieldValues, handle, [number])
    if values is None or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return None
    return int(values[0].value.uiVal)


def _throttle(handle: Any) -> int | None:
    """Named "throttle reasons" before driver 535."""
    found = maybe("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if found is None:
        found = maybe("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    return _count(found)


def _pages(handle: Any, cause: int) -> int | None:
    found = asked(pynvml.nvmlDeviceGetRetiredPages, handle, cause)
    return None if found is None else len(found)


def _clock(handle: Any, kind: int) -> int | None:
    return _count(asked(pynvml.nvmlDeviceGetClockInfo, handle, kind))


def _percent(value: Any) -> int | None:
    return None if value is None else min(int(value), 100)


def _count(value: Any, most: int = _OFF_THE_SCALE) -> int | None:
    """A number that can be; "not available" is told by some calls as all bits set."""
    return int(value) if value is not None and 0 <= int(value) <= most else None
