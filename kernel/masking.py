"""Secrets in what work prints: each is replaced before a line is sent, and before it is kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MASKED_CHARS_MIN: Final = 6  # a shorter value would hide half of every log
MASK: Final = "***"


def words_to_hide(values: Iterable[str]) -> tuple[str, ...]:
    """What must not stand in a log line: each value's lines, the longest first.

    Parts shorter than ``MASKED_CHARS_MIN`` are left: they are no secret to speak of.
    """
    lines = {line.strip() for value in values for line in value.splitlines()}
    kept = {line for line in lines if len(line) >= MASKED_CHARS_MIN}
    return tuple(sorted(kept, key=lambda line: (-len(line), line)))


def masked(text: str, words: Iterable[str]) -> str:
    """The text with each of the words replaced by ``***``."""
    for word in words:
        if word in text:
            text = text.replace(word, MASK)
    return text
