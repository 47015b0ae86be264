"""What an ear keeps: the speech with its pre-roll, and no more than it may."""

from __future__ import annotations

import pytest

from inference.realtime.ear import Ear
from inference.realtime.options import Detection
from inference.realtime.sound import Heard, Room, bytes_of, milliseconds, wav
from inference.realtime.voice import Sensitivity
from kernel.errors import LimitReached, TooLarge
from tests.support.realtime import silence, tone

pytestmark = pytest.mark.feature("A8")
RATE = 24_000
PLENTY = 1 << 30


class Told:
    """What an ear told."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.stops: list[tuple[int, bytes]] = []

    def started(self, at_ms: int) -> None:
        self.starts.append(at_ms)

    def stopped(self, at_ms: int, sound: bytes) -> None:
        self.stops.append((at_ms, sound))


def an_ear(detection: Detection | None, seconds_max: float, room: Room | None = None) -> Ear:
    return Ear(RATE, detection, seconds_max, room or Room(PLENTY))


def hears(ear: Ear, *sounds: bytes) -> Told:
    told = Told()
    for sound in sounds:
        ear.hear(sound, told.started, told.stopped)
    return told


def test_the_speech_is_kept_with_what_was_before_it() -> None:
    ear = an_ear(Detection(), 60)
    told = hears(ear, silence(5000), tone(500), silence(1000))
    ((stop_ms, sound),) = told.stops
    assert told.starts == [4700]
    assert stop_ms == pytest.approx(6000, abs=20)
    assert milliseconds(len(sound), RATE) == pytest.approx(1300, abs=100)
    assert tone(500)[2000:4000] in sound


def test_silence_is_not_kept() -> None:
    ear = an_ear(Detection(Sensitivity(prefix_ms=300)), 1)
    hears(ear, *[silence(500)] * 100)
    assert ear.size_ms <= 500


def test_one_long_message_is_cut_where_the_speech_ends() -> None:
    told = hears(an_ear(Detection(), 60), (tone(500) + silence(900)) * 3)
    assert len(told.stops) == 3
    assert all(milliseconds(len(sound), RATE) < 1500 for _, sound in told.stops)


def test_nobody_speaks_for_ever() -> None:
    told = hears(an_ear(Detection(), 2), *[tone(500)] * 10)
    assert [milliseconds(len(sound), RATE) for _, sound in told.stops][:2] == [2000, 2000]


def test_without_detection_all_is_kept_until_it_is_taken() -> None:
    ear = an_ear(None, 2)
    hears(ear, silence(1000), tone(1000))
    with pytest.raises(TooLarge) as full:
        hears(ear, tone(10))
    assert full.value.error_code == "input_audio_buffer_full"
    assert ear.take() == silence(1000) + tone(1000)
    assert hears(ear, tone(1000)).stops == []


def test_the_last_part_of_the_sound_is_kept_to_the_sample() -> None:
    heard = Heard(16_000, 1 << 20, Room(PLENTY))
    for _ in range(7):
        heard.add(bytes(999 * 2))
    heard.keep_last(100)
    assert len(heard.take()) == bytes_of(100, 16_000) == 3200


def test_a_wav_says_what_is_in_it() -> None:
    file = wav(b"\1\2" * 100, 16_000)
    assert file[:4] + file[8:16] == b"RIFFWAVEfmt "
    assert int.from_bytes(file[24:28], "little") == 16_000
    assert int.from_bytes(file[4:8], "little") == len(file) - 8
    assert file[44:] == b"\1\2" * 100


def test_all_ears_together_keep_no_more_than_there_is_room_for() -> None:
    room = Room(96_000)
    one, other = an_ear(None, 60, room), an_ear(None, 60, room)
    hears(one, tone(1500))
    with pytest.raises(LimitReached) as told:
        hears(other, tone(1000))
    assert told.value.error_code == "input_audio_no_room"
    one.take()
    other.take()
    assert room.used == 0


def test_speech_for_which_there_is_no_room_is_told_and_not_cut() -> None:
    room = Room(96_000)
    one, other = an_ear(Detection(), 60, room), an_ear(None, 60, room)
    hears(other, tone(1000))
    told = Told()
    with pytest.raises(LimitReached):
        one.hear(silence(200) + tone(2000), told.started, told.stopped)
    assert (len(told.starts), told.stops) == (1, [])
    other.take()
    one.hear(silence(900), told.started, told.stopped)
    assert len(told.stops) == 1


def test_what_is_forgotten_gives_its_room_back() -> None:
    room = Room(96_000)
    ear = an_ear(Detection(), 60, room)
    hears(ear, *[silence(500)] * 20)
    assert room.used == ear.size
