"""Forms: read at any cut, written again as they were understood, refused where they are not one."""

from __future__ import annotations

from typing import Any

import pytest
from python_multipart.multipart import MultipartParser, parse_options_header

from inference.errors import UnsupportedMedia
from inference.multipart import (
    BOUNDARY_BYTES_MAX,
    HEADER_BYTES_MAX,
    HEADERS_MAX,
    PARTS_MAX,
    WORD_BYTES_MAX,
    Form,
)
from kernel.errors import Malformed

OURS = b"ours"
SOUND = b"RIFF\r\n--\r\n--XX\r\n--theirs\r\r\n--our\r\n--XX--\r\n-\x00\xff"
PARTS = [
    b'content-disposition: form-data; name="file"; filename="a \\"b\\".wav"\r\n'
    b"content-type: audio/wav\r\n\r\n" + SOUND,
    b'Content-Disposition: form-data; name="model"\r\n\r\nwhisper',
    b'content-disposition: form-data; name="vllm_xargs"\r\n\r\n{"a": 1}',
    b'content-disposition: form-data; name="priority"\r\n\r\n-9',
    b'content-disposition: form-data; name="stream"\r\n\r\ntrue',
    b'content-disposition: form-data; name=language; x="y"\r\n\r\nen',
]
pytestmark = pytest.mark.feature("A4")


def form(*parts: bytes, boundary: bytes = b"XXb") -> bytes:
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, one) for one in parts) + b"--%b--" % boundary


def field(name: str, value: bytes = b"x") -> bytes:
    return b'content-disposition: form-data; name="%b"\r\n\r\n%b' % (name.encode(), value)


def read(*pieces: bytes) -> tuple[Form, bytes]:
    reader = Form(OURS)
    out = b"".join(reader.feed(piece) for piece in pieces)
    return reader, out + reader.close()


def fields(content: bytes) -> dict[str, bytes]:
    """What a worker reads, with its own parser."""
    found: dict[str, bytes] = {}
    told: list[bytes] = []
    text: list[bytes] = []

    def end() -> None:
        name = parse_options_header(b"".join(told))[1][b"name"].decode()
        found[name] = b"".join(text)
        told.clear()
        text.clear()

    names = {"on_header_value": told, "on_part_data": text}
    calls: Any = {
        name: lambda data, start, stop, into=into: into.append(data[start:stop])
        for name, into in names.items()
    }
    calls["on_part_end"] = end
    parser = MultipartParser(OURS, calls)
    parser.write(content)
    return found


def test_every_cut_gives_the_same_form() -> None:
    whole = form(*PARTS)
    _, wanted = read(whole)
    for cut in range(len(whole) + 1):
        reader, out = read(whole[:cut], whole[cut:])
        assert out == wanted
        assert (reader.model, reader.stream, reader.shows_usage) == ("whisper", True, False)
    assert read(*(whole[at : at + 1] for at in range(len(whole))))[1] == wanted


def test_a_worker_reads_what_was_understood() -> None:
    _, out = read(form(*PARTS))
    assert fields(out) == {
        "file": SOUND,
        "stream": b"true",
        "language": b"en",
        "stream_include_usage": b"true",
    }


def test_the_order_of_the_parts_is_no_matter() -> None:
    reader, out = read(form(*reversed(PARTS[1:])))
    assert reader.model == "whisper"
    assert fields(out) == {"stream": b"true", "language": b"en", "stream_include_usage": b"true"}


def test_usage_is_shown_to_who_asked_for_it() -> None:
    asked = field("stream", b"True"), field("stream_include_usage", b"true"), field("model")
    reader, out = read(form(*asked))
    assert reader.shows_usage
    assert out.count(b"stream_include_usage") == 1


def test_the_first_line_may_come_after_an_empty_one() -> None:
    assert read(b"\r\n" + form(field("model")))[0].model == "x"


def test_what_follows_the_end_is_left_out() -> None:
    assert b"after" not in read(form(field("model")) + b"\r\nafter")[1]


@pytest.mark.parametrize("body", [b'{"model": "m"}', b"model=m", b"", b"\r\n\r\n"])
def test_what_is_no_form_is_refused_as_another_kind(body: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="multipart/form-data"):
        read(body)


LONG = b"b" * (BOUNDARY_BYTES_MAX + 3)
WRONG = {
    "no boundary": b"--\r\n" + field("model"),
    "a boundary without an end": b"-" * (BOUNDARY_BYTES_MAX + 9),
    "too long a boundary": form(field("model"), boundary=LONG),
    "a quote in it": form(field("model"), boundary=b'a"b'),
    "cut off": form(field("model"))[:-2],
    "cut off in a head": form(field("model"))[:30],
    "only a boundary": b"--XXb",
    "no colon": form(b"content-disposition\r\n\r\nx"),
    "no name": form(b"content-disposition: form-data\r\n\r\nx"),
    "no disposition": form(b"content-type: a/b\r\n\r\nx"),
    "another disposition": form(b"content-disposition: attachment; name=a\r\n\r\nx"),
    "two dispositions": form(b"content-disposition: form-data; name=a\r\n" + field("model")),
    "a quote in a name": form(b'content-disposition: form-data; name="a\\"b"\r\n\r\nx'),
    "a long name": form(field("n" * 300)),
    "many headers": form(b"".join(b"a%d: b\r\n" % n for n in range(HEADERS_MAX)) + field("a")),
    "a long header": form(b"a: " + b"b" * HEADER_BYTES_MAX + b"\r\n" + field("a")),
    "many parts": form(*(field(f"f{n}") for n in range(PARTS_MAX + 1))),
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_broken_form_is_refused_however_it_comes(body: bytes) -> None:
    with pytest.raises(Malformed, match="form"):
        read(body)
    with pytest.raises(Malformed, match="form"):
        read(*(body[at : at + 1] for at in range(len(body))))


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([field("file")], "model"),
        ([field("model", b"")], "model"),
        ([field("model"), field("model", b"y")], "model"),
        ([field("model", b"\xff")], "model"),
        ([field("model", b"m" * (WORD_BYTES_MAX + 1))], "model"),
        ([b'content-disposition: form-data; name="model"; filename="a"\r\n\r\nm'], "model"),
        ([field("model"), field("n", b"9")], "n"),
    ],
)
def test_a_wrong_field_is_named(parts: list[bytes], param: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(form(*parts))
    assert caught.value.param == param


def test_nested_forms_stay_what_they_are() -> None:
    inner = form(field("model", b"inner"), boundary=b"XXbc")
    kind = b'name="file"; filename="x"\r\ncontent-type: multipart/mixed; boundary=XXbc\r\n\r\n'
    outer = form(b"content-disposition: form-data; " + kind + inner, field("model"))
    reader, out = read(outer)
    assert reader.model == "x"
    assert fields(out) == {"file": inner}
