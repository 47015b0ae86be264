"""Forms are read alike however their bytes are cut."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standins.worker.refusals import Refusal
from standins.worker.transcriptions import duration
from standins.worker.uploads import HEAD_BYTES, File, Form, read_form

KIND = "multipart/form-data; boundary=b0"
CONTENT = bytes(range(256)) * 30 + b"\r\n--b0x\r\n--b"
BODY = (
    b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\xc3\xb8\r\n'
    b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a b.wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\n" + CONTENT + b"\r\n--b0--\r\n"
)


async def pieces(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        yield body[start:end]


async def read(body: bytes, cuts: list[int], kind: str = KIND) -> Form:
    return await read_form(kind, pieces(body, cuts))


@given(st.lists(st.integers(0, 10_000), max_size=8))
async def test_cuts_change_nothing(cuts: list[int]) -> None:
    form = await read(BODY, cuts)
    file = form.files["file"]
    assert form.fields == {"model": "mø"}
    assert (file.name, file.content_type, file.size) == ("a b.wav", "audio/wav", len(CONTENT))
    assert file.digest == hashlib.sha256(CONTENT).hexdigest()
    assert file.head == CONTENT[:HEAD_BYTES]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (BODY, "multipart/form-data"),
        (b"nothing of a form", KIND),
        (b"--b0\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b0--\r\n", KIND),
        (
            b'--b0\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
            + bytes(1024**2 + 1)
            + b"\r\n--b0--\r\n",
            KIND,
        ),
    ],
    ids=["no boundary", "no form", "no name", "too long"],
)
async def test_a_broken_form_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(Refusal):
        await read(body, [1, 500], kind)


@pytest.mark.parametrize(
    ("head", "seconds"),
    [
        (b"RIFF\0\0\0\0WAVEfmt " + b"\x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0", 1),
        (b"fLaC", 1.00275),
        (b"\0\0\0\x20ftypM4A ", 1.00275),
    ],
    ids=["wav", "flac", "m4a"],
)
def test_a_sound_has_a_length(head: bytes, seconds: float) -> None:
    file = File("a", "audio/x", size=16_044, head=head)
    assert duration(file) == pytest.approx(seconds)


def test_what_is_no_sound_has_none() -> None:
    with pytest.raises(Refusal):
        duration(File("a", "audio/x", size=9, head=b"not sound"))
