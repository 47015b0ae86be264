"""What the stand-in says: a pure function of the prompt, told apart from a model at first sight."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

GREETING = "This is the Ganglion stand-in worker, not a language model."
_VOCABULARY = (
    "axon branch bridge cell current delay dendrite echo fibre gate impulse junction kernel "
    "lattice layer ledger link marker mesh node path phase pulse queue relay ring signal spark "
    "spine stream synapse table thread token trace valve wave weave window wire"
)
WORDS = tuple(_VOCABULARY.split())
END = ""  # the end-of-sequence token: counted, and shown as nothing
NATURAL_WORDS_MIN, NATURAL_WORDS_SPREAD = 12, 24
_PIECE = re.compile(r"\s*(?:\w{1,12}|[^\w\s])|\s+")
SCHEMA_DEPTH_MAX = 16
HEARD_WORDS_MAX = 400
_FIRST_WORD = "This"
_ENDLESS = 1 << 20


@dataclass(frozen=True, slots=True)
class Wish:
    """How long an answer may be and where it ends."""

    tokens_max: int
    tokens_min: int = 0
    stop: tuple[str, ...] = ()
    run_on: bool = False  # ignore_eos: go on to tokens_max


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice: its tokens, and why it ended."""

    pieces: tuple[str, ...]
    finish_reason: str
    stop_reason: str | None = None
    tool_name: str = ""  # not empty: the pieces are the arguments of a call of this tool

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def split(text: str) -> tuple[str, ...]:
    """Text as tokens; their concatenation is the text again."""
    return tuple(_PIECE.findall(text))


def count(text: str) -> int:
    return sum(1 for _ in _PIECE.finditer(text))


def speak(prompt: str, wish: Wish, choice: int) -> Answer:
    """An answer in words, the same for the same prompt and choice on every machine."""
    digest = hashlib.sha256(f"{choice}:{prompt}".encode()).digest()
    natural = NATURAL_WORDS_MIN + digest[0] % NATURAL_WORDS_SPREAD
    opening = f"{GREETING} Your prompt has {count(prompt)} tokens and begins with digest "
    pieces: list[str] = [*split(opening + digest.hex()[:8] + ":")]
    floor = wish.tokens_max if wish.run_on else wish.tokens_min
    length = max(len(pieces) + natural, floor)
    words = _words(digest)
    while len(pieces) < length:
        pieces.append(" " + next(words))
    return trim(tuple(pieces), wish)


def go_on(prompt: str, said: str, wish: Wish, choice: int) -> Answer:
    """The rest of what ``speak`` says, of which ``said`` is the beginning; any other text is
    followed by a whole answer."""
    least = count(said) + (wish.tokens_max if wish.run_on else wish.tokens_min)
    whole = speak(prompt, Wish(_ENDLESS, least), choice)
    if not whole.text.startswith(said):
        return speak(prompt, wish, choice)
    return trim(split(whole.text[len(said) :]), wish)


def part(prompt: str) -> tuple[str, str]:
    """A prompt that ends in the beginning of an answer to its own beginning, as these two."""
    at = prompt.rfind(_FIRST_WORD)
    while at > 0:
        said = prompt[at:]
        if speak(prompt[:at], Wish(_ENDLESS, count(said)), 0).text.startswith(said):
            return prompt[:at], said
        at = prompt.rfind(_FIRST_WORD, 0, at)
    return prompt, ""


def transcribe(digest: str, seconds: float, tokens_max: int) -> Answer:
    """What is heard in audio: two words a second, the same for the same bytes."""
    opening = f"The Ganglion stand-in worker heard {seconds:.1f} seconds of audio {digest[:8]}:"
    words = _words(bytes.fromhex(digest))
    heard = [" " + next(words) for _ in range(min(int(2 * seconds), HEARD_WORDS_MAX))]
    return trim((*split(opening), *heard), Wish(tokens_max))


def trim(pieces: tuple[str, ...], wish: Wish) -> Answer:
    """End at the first stop string or at the longest length allowed."""
    text = "".join(pieces[: wish.tokens_max])
    hits = [(text.find(stop), stop) for stop in wish.stop if stop and stop in text]
    if hits:
        at, stop = min(hits)
        return Answer(split(text[:at]), "stop", stop)
    if len(pieces) > wish.tokens_max or wish.run_on:
        return Answer(pieces[: wish.tokens_max], "length")
    if len(pieces) == wish.tokens_max:
        return Answer(pieces, "length")
    return Answer((*pieces, END), "stop")


def call_tool(prompt: str, name: str, parameters: object) -> Answer:
    """A call of the tool whose string arguments echo the end of the prompt."""
    arguments = json.dumps(sample(parameters, prompt[-60:].strip()), ensure_ascii=False)
    return Answer(split(arguments), "tool_calls", tool_name=name)


def write_json(prompt: str, schema: object, wish: Wish) -> Answer:
    """A JSON text: of the schema where one is asked for, else an object of our own."""
    if isinstance(schema, dict):
        value = sample(schema, prompt[-60:].strip())
    else:
        value = {"stand_in": "ganglion", "note": GREETING, "prompt_tokens": count(prompt)}
    return trim(split(json.dumps(value, ensure_ascii=False)), wish)


def sample(schema: object, text: str, depth: int = 0) -> Any:
    """The plainest value that a JSON schema allows; strings echo ``text``."""
    if not isinstance(schema, dict) or depth > SCHEMA_DEPTH_MAX:
        return {} if depth == 0 else text
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return sample(schema[key][0], text, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema or depth == 0 else "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        properties = schema.get("properties")
        items = properties.items() if isinstance(properties, dict) else ()
        return {str(name): sample(inner, text, depth + 1) for name, inner in items}
    if kind == "array":
        return [sample(schema.get("items"), text, depth + 1)]
    plain: dict[str, Any] = {"integer": 1, "number": 1.5, "boolean": True, "null": None}
    return plain.get(str(kind), text)


def logprob(prompt: str, place: int) -> float:
    """A steady made-up log probability between -4 and 0."""
    digest = hashlib.sha256(f"{place}:{prompt}".encode()).digest()
    return -digest[0] / 64


def _words(digest: bytes) -> Iterator[str]:
    while True:
        for byte in digest:
            yield WORDS[byte % len(WORDS)]
        digest = hashlib.sha256(digest).digest()
