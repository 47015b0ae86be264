"""A form on its way to a worker: read as it comes, and written again as it was understood. Pure.

Each part goes out under a boundary and a head of our own, so no worker can find another form in
it than we did. The model is taken out: each worker is told its own name for it. The boundary is
read from the first line of the body, where it must stand, whatever the headers say.
"""

from __future__ import annotations

import logging
from typing import Any

from inference.body import STRIPPED
from inference.errors import UnsupportedMedia, bad_field
from kernel.errors import GanglionError, Malformed

PARTS_MAX = 64
HEADERS_MAX = 8
HEADER_BYTES_MAX = 4096
BOUNDARY_BYTES_MAX = 70  # RFC 2046
NAME_BYTES_MAX = 200
WORD_BYTES_MAX = 512  # of a field that is read here
KIND = b"multipart/form-data; boundary="
_WORDS = frozenset(("model", "stream", "stream_include_usage", "n"))
_YES = frozenset(("true", "1", "yes", "on", "t", "y"))  # what pydantic takes for true
_UNSAFE = frozenset(b'"\\\x7f') | frozenset(range(32))
_NO_FORM = "Send this request as multipart/form-data: the fields and the file, each as a part."
# It says which byte of a body was wrong; nothing of a body belongs in a log.
logging.getLogger("python_multipart").disabled = True
logging.getLogger("python_multipart.multipart").disabled = True


class Form:
    """Feed it the body in pieces of any cut; what it gives goes to the worker."""

    def __init__(self, boundary: bytes) -> None:
        self.model: str | None = None
        self.stream = False
        self.shows_usage = False  # the client wants to see usage in its stream
        self._boundary = boundary  # ours
        self._begin = b""  # until the first line is whole
        self._parser: Any = None
        self._out: list[bytes] = []
        self._parts = 0
        self._ended = False
        self._asks_usage = False
        self._header = b""
        self._value = b""
        self._heads: dict[bytes, bytes] = {}
        self._name = ""
        self._word: bytes | None = None  # of a field that is read here
        self._dropped = False  # the present part goes no further

    def feed(self, received: bytes) -> bytes:
        """What the worker gets of it. Raises what the client is to be told."""
        if self._parser is None:
            received = self._first_line(received)
            if not received:
                return b""
        from python_multipart.exceptions import MultipartParseError

        try:
            self._parser.write(received)
        except MultipartParseError:
            raise _broken("it breaks the rules of its parts") from None
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    def close(self) -> bytes:
        """The end of the body. Raises what the client is to be told."""
        if self._parser is None:
            raise _broken("it has no parts") if self._begin else UnsupportedMedia(_NO_FORM)
        if not self._ended:
            raise _broken("its last boundary is missing")
        if self.model is None:
            raise bad_field("model", "You must provide a model parameter.")
        usage = b""
        if self.stream and not self._asks_usage:  # hidden again from a client that did not ask
            usage = part(self._boundary, "stream_include_usage", b"true")
        return b"%b--%b--\r\n" % (usage, self._boundary)

    def _first_line(self, received: bytes) -> bytes:
        """Everything so far once the boundary is known, else nothing."""
        begin = self._begin = (self._begin + received).lstrip(b"\r\n")
        if begin[:2] != b"--"[: len(begin)]:
            raise UnsupportedMedia(_NO_FORM)
        line, end, _ = begin.partition(b"\r\n")
        boundary = line[2:].rstrip(b" \t")
        if len(line) > BOUNDARY_BYTES_MAX + 4:
            raise _broken(f"its boundary may have {BOUNDARY_BYTES_MAX} bytes at most")
        if not end:
            return b""
        if not boundary or not boundary.isascii() or _UNSAFE.intersection(boundary):
            raise _broken("its first line is no boundary")
        self._parser = self._make_parser(boundary)
        self._begin = b""
        return b"--%b%b" % (boundary, begin[len(line) :])

    def _make_parser(self, boundary: bytes) -> object:
        from python_multipart.multipart import MultipartParser  # only gateways with uploads pay

        callbacks: Any = {
            "on_part_begin": self._part_begin,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }
        return MultipartParser(
            boundary, callbacks, max_header_count=HEADERS_MAX, max_header_size=HEADER_BYTES_MAX
        )

    # What the parser finds.

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise Malformed(f"The form has too many parts: at most {PARTS_MAX} are taken here.")
        self._heads = {}
        self._header = self._value = b""
        self._word, self._dropped = None, False

    def _header_field(self, content: bytes, start: int, end: int) -> None:
        self._header += content[start:end]

    def _header_value(self, content: bytes, start: int, end: int) -> None:
        self._value += content[start:end]

    def _header_end(self) -> None:
        name = self._header.lower()
        if name in self._heads:
            raise _broken("a part says a header twice")
        self._heads[name] = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        kind, told = parse_options_header(self._heads.get(b"content-disposition"))
        name = self._name = told.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not name:
            raise _broken("a part has no name")
        if len(name) > NAME_BYTES_MAX or _UNSAFE.intersection(name.encode()):
            raise _broken("a part has a name that no field has")
        file = told.get(b"filename")
        if name.partition("[")[0] in STRIPPED:
            self._dropped = True
        elif name in _WORDS:
            if file is not None:
                raise bad_field(name, f"{name} must be a text field, not a file.")
            self._word = b""
        else:
            kind = self._heads.get(b"content-type", b"")
            self._out.append(_head(self._boundary, name, file, kind))

    def _part_data(self, content: bytes, start: int, end: int) -> None:
        if self._dropped:
            return
        if self._word is None:
            self._out.append(content[start:end])
            return
        self._word += content[start:end]
        if len(self._word) > WORD_BYTES_MAX:
            raise bad_field(self._name, f"{self._name} is too long.")

    def _part_end(self) -> None:
        if self._word is not None:
            self._take_word(self._name, self._word)
        elif not self._dropped:
            self._out.append(b"\r\n")

    def _take_word(self, name: str, content: bytes) -> None:
        try:
            word = content.decode()
        except UnicodeDecodeError:
            raise bad_field(name, f"{name} must be text in UTF-8.") from None
        if name == "model":
            if self.model is not None:
                raise bad_field("model", "Give model once.")
            if not word:
                raise bad_field("model", "You must provide a model parameter.")
            self.model = word
            return
        if name == "n" and word.strip() != "1":
            raise bad_field("n", "One answer is given for a file: leave n out.")
        if name == "stream":
            self.stream = word.strip().lower() in _YES
        elif name == "stream_include_usage":
            self._asks_usage = True
            self.shows_usage = word.strip().lower() in _YES
        self._out.append(part(self._boundary, name, content))

    def _end(self) -> None:
        self._ended = True


def part(boundary: bytes, name: str, content: bytes) -> bytes:
    """A field as it stands in a form."""
    return b"%b%b\r\n" % (_head(boundary, name), content)


def _head(boundary: bytes, name: str, file: bytes | None = None, kind: bytes = b"") -> bytes:
    disposition = b'content-disposition: form-data; name="%b"' % name.encode()
    if file is not None:
        disposition += b'; filename="%b"' % bytes(95 if c in _UNSAFE else c for c in file[:255])
        if kind and min(kind) >= 32:
            disposition += b"\r\ncontent-type: %b" % kind
    return b"--%b\r\n%b\r\n\r\n" % (boundary, disposition)


def _broken(why: str) -> GanglionError:
    return Malformed(f"The form cannot be read: {why}.")
