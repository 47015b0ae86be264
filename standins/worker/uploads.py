"""Forms with a file, parsed as they come: of the file only its digest and beginning are kept.

The parser is python-multipart's, which vLLM's own server uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from standins.worker.refusals import Refusal

HEAD_BYTES = 4096  # enough for the head of an audio file
FIELDS_MAX = 1000
FIELD_BYTES_MAX = 1024 * 1024


@dataclass(slots=True)
class File:
    """A file that went by."""

    name: str
    content_type: str
    size: int = 0
    head: bytes = b""
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, content: bytes) -> None:
        self.size += len(content)
        self._digest.update(content)
        if len(self.head) < HEAD_BYTES:
            self.head += content[: HEAD_BYTES - len(self.head)]

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()


@dataclass(slots=True)
class Form:
    """The last value of each field, and each file, by name."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)


async def read_form(content_type: str, pieces: AsyncIterator[bytes]) -> Form:
    """Read a form to its end; raises ``Refusal`` for one that is broken."""
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser

    boundary = _parameters(content_type).get("boundary", "")
    if not boundary:
        raise BrokenForm("Missing boundary in multipart.")
    reader = _Reader()
    parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]
    try:
        async for piece in pieces:
            parser.write(piece)
        parser.finalize()
    except MultipartParseError as wrong:
        raise BrokenForm(str(wrong)) from wrong
    return reader.form


class _Reader:
    """Takes the parser's events."""

    def __init__(self) -> None:
        self.form = Form()
        self._headers: dict[str, str] = {}
        self._header_name = self._header_value = b""
        self._field = ""
        self._text = b""
        self._file: File | None = None

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._part_begin,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value_data,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
        }

    def _part_begin(self) -> None:
        self._headers, self._text, self._file = {}, b"", None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_data(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        name = self._header_name.decode("latin-1").lower()
        self._headers[name] = self._header_value.decode("latin-1")
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        told = _parameters(self._headers.get("content-disposition", ""))
        if "name" not in told:
            raise BrokenForm('The Content-Disposition header field "name" must be provided.')
        self._field = told["name"]
        if "filename" in told:
            self._file = File(told["filename"], self._headers.get("content-type", ""))
            self.form.files[self._field] = self._file

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.take(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > FIELD_BYTES_MAX:
            raise BrokenForm(f"Part exceeded maximum size of {FIELD_BYTES_MAX // 1024}KB.")

    def _part_end(self) -> None:
        if self._file is None:
            self.form.fields[self._field] = self._text.decode("utf-8", "replace")
        if len(self.form.fields) + len(self.form.files) > FIELDS_MAX:
            raise BrokenForm(f"Too many fields. Maximum number of fields is {FIELDS_MAX}.")


def _parameters(value: str) -> dict[str, str]:
    """What follows the first word of a header: ``form-data; name="file"``."""
    from python_multipart.multipart import parse_options_header

    _, found = parse_options_header(value)
    return {name.decode("latin-1"): text.decode("utf-8", "replace") for name, text in found.items()}


class BrokenForm(Refusal):
    """vLLM's server refuses it before vLLM sees it, in a shape of its own."""

    def __init__(self, words: str) -> None:
        super().__init__(words, kind="Bad Request", param=None)

    def body(self) -> dict[str, Any]:
        return {"detail": self.message}
