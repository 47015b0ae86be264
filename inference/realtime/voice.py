"""When does somebody speak? Sound in, starts and stops out. Pure.

Sound is looked at in frames of 20 ms. A frame's level is its loudness in dB below full scale,
``20 log10(rms / 32768)``. Speech begins when ``BEGIN_FRAMES`` frames in a row are louder than

    max(-60 + 40 * threshold, floor + 9)                    (threshold 0.5: -40 dB)

where ``floor`` follows the noise of the room: at once down to a quieter frame, else up by 3 dB a
second, and never above -35 dB (speech has pauses, which hold it down; a fan has none). Speech ends
when no frame was louder than 6 dB below that bound (hysteresis) for ``silence_ms``. What was heard
``prefix_ms`` before the start belongs to the speech (pre-roll): first sounds of words are soft.
"""

from __future__ import annotations

import math
import sys
from array import array
from dataclasses import dataclass

FRAME_MS = 20
BEGIN_FRAMES = 3
FULL_SCALE = 32768.0
SILENCE_DB = -96.0
MARGIN_DB = 9.0
HYSTERESIS_DB = 6.0
FLOOR_RISE_DB = 3.0 * FRAME_MS / 1000
FLOOR_MAX_DB = -35.0
FLOOR_START_DB = -50.0  # until the room was heard
SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """As ``turn_detection`` of type ``server_vad`` gives it."""

    threshold: float = 0.5
    prefix_ms: int = 300
    silence_ms: int = 500

    @property
    def least_db(self) -> float:
        return -60.0 + 40.0 * self.threshold


@dataclass(frozen=True, slots=True)
class Started:
    """Speech began; it counts from ``at_ms`` of all sound, the pre-roll included."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Speech ended; ``at_ms`` includes the silence that showed it."""

    at_ms: int


Change = Started | Stopped


def level_db(samples: array[int]) -> float:
    """How loud a frame is, in dB below full scale."""
    rms = math.hypot(*samples) / math.sqrt(len(samples))
    return 20 * math.log10(rms / FULL_SCALE) if rms > 1 / FULL_SCALE else SILENCE_DB


def samples_of(sound: bytes) -> array[int]:
    """PCM16, little endian, as numbers."""
    samples = array("h", sound)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


class Voice:
    """One stream of sound. ``feed`` it; it tells what changed."""

    def __init__(self, rate: int, sensitivity: Sensitivity) -> None:
        self.sensitivity = sensitivity
        self.speaking = False
        self._frame_bytes = rate * FRAME_MS // 1000 * SAMPLE_BYTES
        self._rest = b""
        self._frames = 0  # that were looked at
        self._loud = 0  # in a row
        self._soft = 0
        self._floor_db = FLOOR_START_DB

    def feed(self, sound: bytes) -> list[Change]:
        """Sound of any length."""
        sound = self._rest + sound if self._rest else sound
        size = self._frame_bytes
        whole = len(sound) // size * size
        self._rest = sound[whole:]
        changes: list[Change] = []
        for start in range(0, whole, size):
            change = self._frame(level_db(samples_of(sound[start : start + size])))
            if change is not None:
                changes.append(change)
        return changes

    def quiet(self) -> None:
        """Forget a speech that was ended by other means; what follows may begin another."""
        self.speaking = False
        self._loud = self._soft = 0

    def _frame(self, level: float) -> Change | None:
        self._frames += 1
        bound = max(self.sensitivity.least_db, self._floor_db + MARGIN_DB)
        self._floor_db = min(level, self._floor_db + FLOOR_RISE_DB, FLOOR_MAX_DB)
        if self.speaking:
            return self._spoken(level >= bound - HYSTERESIS_DB)
        self._loud = self._loud + 1 if level >= bound else 0
        if self._loud < BEGIN_FRAMES:
            return None
        self.speaking, self._loud, self._soft = True, 0, 0
        begun_ms = (self._frames - BEGIN_FRAMES) * FRAME_MS
        return Started(max(begun_ms - self.sensitivity.prefix_ms, 0))

    def _spoken(self, loud: bool) -> Change | None:
        self._soft = 0 if loud else self._soft + 1
        if self._soft * FRAME_MS < self.sensitivity.silence_ms:
            return None
        self.speaking, self._soft = False, 0
        return Stopped(self._frames * FRAME_MS)
