"""A text that comes in pieces, cut where a voice may pause. Pure.

A piece ends after ``. ! ? …``, their wide forms or a line's end, when it has ``LEAST`` characters:
a voice sounds poor on single words. A piece of ``MOST`` ends at its last blank, or where it is.
"""

from __future__ import annotations

import re

LEAST = 12
MOST = 400
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]|\n")


class Sentences:
    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str]:
        """The pieces that are whole now."""
        self._rest += text
        found: list[str] = []
        while piece := self._next():
            if piece.strip():
                found.append(piece.strip())
        return found

    def end(self) -> str:
        """What is left."""
        rest, self._rest = self._rest.strip(), ""
        return rest

    def _next(self) -> str:
        for match in _END.finditer(self._rest):
            if match.end() >= LEAST:
                return self._cut(match.end())
        if len(self._rest) < MOST:
            return ""
        blank = self._rest.rfind(" ", 0, MOST)
        return self._cut(blank + 1 if blank > 0 else MOST)

    def _cut(self, at: int) -> str:
        piece, self._rest = self._rest[:at], self._rest[at:]
        return piece
