"""Voice activity: when somebody speaks, and where the speech is cut."""

from __future__ import annotations

import math
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.realtime.voice import Change, Sensitivity, Started, Stopped, Voice, level_db
from tests.support.realtime import silence, tone

pytestmark = pytest.mark.feature("A8")
RATE = 24_000


def noise(ms: int, peak: int) -> bytes:
    chance = random.Random(7)
    count = RATE * ms // 1000
    return array("h", (chance.randint(-peak, peak) for _ in range(count))).tobytes()


def changes(sound: bytes, **how: float) -> list[Change]:
    return Voice(RATE, Sensitivity(**how)).feed(sound)  # type: ignore[arg-type]


def test_the_level_of_a_full_sine_is_three_decibels_below_full_scale() -> None:
    samples = array("h", (round(32767 * math.sin(at / 10)) for at in range(48_000)))
    assert level_db(samples) == pytest.approx(-3.01, abs=0.01)


def test_silence_has_a_level_too() -> None:
    assert level_db(array("h", bytes(960))) == -96


def test_speech_starts_before_it_is_heard_and_stops_after_the_pause() -> None:
    found = changes(silence(1000) + tone(600) + silence(1000))
    assert found == [Started(1000 - 300), Stopped(1600 + 500)]


@pytest.mark.parametrize(("silence_ms", "pieces"), [(200, 2), (500, 1)])
def test_a_pause_ends_speech_when_it_is_long_enough(silence_ms: int, pieces: int) -> None:
    sound = tone(500) + silence(300) + tone(500) + silence(800)
    stops = [one for one in changes(sound, silence_ms=silence_ms) if isinstance(one, Stopped)]
    assert len(stops) == pieces


def test_a_click_is_no_speech() -> None:
    assert changes(silence(500) + tone(40) + silence(500)) == []


def test_a_higher_threshold_wants_louder_speech() -> None:
    soft = tone(600, peak=600)
    assert changes(soft, threshold=0.5) != []
    assert changes(soft, threshold=0.8) == []


def test_steady_noise_is_taken_for_the_room_in_the_end() -> None:
    voice = Voice(RATE, Sensitivity())
    fan = noise(20_000, peak=500)
    voice.feed(fan)
    assert not voice.speaking
    assert voice.feed(noise(3000, peak=500)) == []


def test_speech_is_heard_above_noise() -> None:
    voice = Voice(RATE, Sensitivity())
    voice.feed(noise(20_000, peak=500))
    assert [type(one) for one in voice.feed(tone(600) + noise(1500, 500))] == [Started, Stopped]


def test_a_voice_that_falls_a_little_is_still_speech() -> None:
    sound = tone(500, peak=700) + tone(1000, peak=400) + silence(100)
    assert [type(one) for one in changes(sound)] == [Started]


@given(st.lists(st.integers(2, 9000).map(lambda n: n // 2 * 2), max_size=60))
def test_how_the_sound_is_cut_changes_nothing(sizes: list[int]) -> None:
    sound = silence(300) + tone(300) + silence(600) + tone(200)
    voice = Voice(RATE, Sensitivity())
    found: list[Change] = []
    for size in sizes:
        found += voice.feed(sound[:size])
        sound = sound[size:]
    found += voice.feed(sound)
    assert found == changes(silence(300) + tone(300) + silence(600) + tone(200))
