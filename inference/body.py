"""The request body: what the gateway reads of it, and the few bytes that it changes.

The top level is taken apart into raw values and put together again, so each value that we do
not set travels byte for byte, and a name given twice reaches the worker once (the last).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec import Raw

from inference.errors import bad_field
from kernel.errors import Malformed

_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode
_ENCODE = msgspec.json.Encoder().encode
_STRING = msgspec.json.Decoder(str).decode
_FLAG = msgspec.json.Decoder(bool | None).decode
_NUMBER = msgspec.json.Decoder(int | None).decode
_ITEMS = msgspec.json.Decoder(list[Raw]).decode
_DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)

WEIGHT_MAX = 1024
INCLUDE_USAGE = Raw(b'{"include_usage":true}')
_TRUE = Raw(b"true")

# Privileges of the engine that no tenant may use: queue jumping, moving of caches, ids and code
# of others.
STRIPPED = (
    "priority",
    "kv_transfer_params",
    "request_id",
    "logits_processors",
    "logits_processor_pattern",
    "vllm_xargs",
    "data_parallel_rank",
)


_STRIPPED = frozenset(STRIPPED)
_MANY = frozenset(("n", "best_of", "prompt", "input"))


@dataclass(slots=True)
class Ask:
    """A request body, understood as far as the gateway needs."""

    fields: dict[str, Raw]
    model: str
    stream: bool
    usage_asked: bool  # the client wants to see usage in its stream
    weight: int  # sequences that will run side by side
    tokens_max: int | None  # what one sequence may produce
    bytes_in: int


def read(body: bytes) -> Ask:
    """Understand a body, or raise ``Malformed`` (400) with the parameter at fault."""
    try:
        fields = _FIELDS(body)
    except _DECODE_ERRORS:
        raise Malformed("The request body is not a valid JSON object.") from None
    if "model" not in fields:
        raise bad_field("model", "You must provide a model parameter.")
    try:
        model = _STRING(fields["model"])
    except _DECODE_ERRORS:
        raise bad_field("model", "model must be a string.") from None
    stream = "stream" in fields and _flag(fields, "stream")
    usage_asked = _ask_for_usage(fields) if stream else False
    tokens = None
    if "max_completion_tokens" in fields:
        tokens = _number(fields, "max_completion_tokens")
    if tokens is None and "max_tokens" in fields:
        tokens = _number(fields, "max_tokens")
    return Ask(fields, model, stream, usage_asked, _weight(fields), tokens, len(body))


def upstream(ask: Ask, *, model: str, cache_salt: str) -> bytes:
    """The body for the worker. An empty ``model`` or ``cache_salt`` leaves the client's."""
    fields = ask.fields
    if not _STRIPPED.isdisjoint(fields):
        for name in STRIPPED:
            fields.pop(name, None)
    if model and model != ask.model:
        fields["model"] = Raw(_ENCODE(model))
    if cache_salt:
        fields["cache_salt"] = Raw(_ENCODE(cache_salt))
    return _ENCODE(fields)


def _ask_for_usage(fields: dict[str, Raw]) -> bool:
    """Make the worker tell usage at the end; true when the client asked for it itself."""
    given = fields.get("stream_options")
    if given is None or bytes(given) == b"null":
        fields["stream_options"] = INCLUDE_USAGE
        return False
    try:
        options = _FIELDS(given)
        asked = bool(_FLAG(options.get("include_usage", b"null")))
    except _DECODE_ERRORS:
        raise bad_field(
            "stream_options", "stream_options must be an object; include_usage is true or false."
        ) from None
    if not asked:
        options["include_usage"] = _TRUE
        options.pop("continuous_usage_stats", None)
        fields["stream_options"] = Raw(_ENCODE(options))
    return asked


def _flag(fields: dict[str, Raw], name: str) -> bool:
    raw = fields.get(name)
    if raw is None:
        return False
    try:
        return bool(_FLAG(raw))
    except _DECODE_ERRORS:
        raise bad_field(name, f"{name} must be true or false.") from None


def _number(fields: dict[str, Raw], name: str) -> int | None:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        value: int | None = _NUMBER(raw)
    except _DECODE_ERRORS:
        raise bad_field(name, f"{name} must be a whole number.") from None
    if value is not None and value < 0:
        raise bad_field(name, f"{name} must not be negative.")
    return value


def _weight(fields: dict[str, Raw]) -> int:
    """How many sequences run: ``n`` (or ``best_of``) for each prompt or input given."""
    if _MANY.isdisjoint(fields):
        return 1
    sequences = 1
    for name in ("n", "best_of"):
        if name in fields:
            sequences = max(sequences, _number(fields, name) or 1)
    for name in ("prompt", "input"):
        if name in fields:
            sequences *= _prompts(fields[name])
    if sequences > WEIGHT_MAX and "n" in fields:
        raise bad_field("n", f"One request may run at most {WEIGHT_MAX} sequences.")
    return min(sequences, WEIGHT_MAX)


def _prompts(raw: Raw) -> int:
    """A list of texts or of token lists is many prompts; a text or a list of tokens is one."""
    if bytes(memoryview(raw)[:1]) != b"[":
        return 1
    try:
        items = _ITEMS(raw)
    except _DECODE_ERRORS:
        return 1
    if not items or bytes(memoryview(items[0])[:1]) not in (b'"', b"[", b"{"):
        return 1
    return len(items)
