"""What the command line says when it cannot do what was asked: a sentence and the next step."""

from __future__ import annotations


class CliError(Exception):
    """Ends the command with exit code 1. ``advice`` is what the person can do about it."""

    def __init__(self, sentence: str, advice: str = "", *, code: str = "error") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.advice = advice
        self.code = code
