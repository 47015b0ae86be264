"""Words for what NVML tells in numbers: reasons for lower clocks, compute modes, recovery actions.

Numbers as in NVIDIA's own binding ``pynvml``: bits of ``nvmlClocksEventReason*`` (the same as the
older ``nvmlClocksThrottleReason*``, which has two more), ``NVML_COMPUTEMODE_*`` and
``NVML_GPU_RECOVERY_ACTION_*``. A test compares them with it.
"""

from __future__ import annotations

from typing import Final

GPU_IDLE: Final = 0x1
POWER_CAP: Final = 0x4
HW_SLOWDOWN: Final = 0x8
SW_THERMAL_SLOWDOWN: Final = 0x20
HW_THERMAL_SLOWDOWN: Final = 0x40
HW_POWER_BRAKE: Final = 0x80

THROTTLE_WORDS: Final[dict[int, str]] = {
    GPU_IDLE: "idle",
    0x2: "application clocks",
    POWER_CAP: "power cap",
    HW_SLOWDOWN: "hardware slowdown",
    0x10: "sync boost",
    SW_THERMAL_SLOWDOWN: "thermal slowdown by the driver",
    HW_THERMAL_SLOWDOWN: "thermal slowdown by the hardware",
    HW_POWER_BRAKE: "power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability voltage",
}
COMPUTE_MODES: Final = ("default", "exclusive thread", "prohibited", "exclusive process")
RECOVERY_ACTIONS: Final = (
    "none",
    "reset the GPU",
    "restart the machine",
    "end peer-to-peer work",
    "drain and reset the GPU",
    "recover the IMEX domain",
    "reset the PCIe bus",
    "restart the machine",
)


def throttle_words(bits: int | None) -> list[str]:
    """Each reason that is set, in the order of its bit; bits that nobody knows by their number."""
    if not bits:
        return []
    known = [word for bit, word in THROTTLE_WORDS.items() if bits & bit]
    rest = bits & ~sum(THROTTLE_WORDS)
    unknown = [f"bit {n}" for n in range(rest.bit_length()) if rest >> n & 1]
    return known + unknown


def compute_mode_word(mode: int | None) -> str | None:
    if mode is None:
        return None
    return COMPUTE_MODES[mode] if mode < len(COMPUTE_MODES) else f"mode {mode}"


def recovery_word(action: int | None) -> str | None:
    """What the driver asks for, as something to do; "none" where nothing is to be done."""
    if action is None:
        return None
    return RECOVERY_ACTIONS[action] if action < len(RECOVERY_ACTIONS) else f"action {action}"
