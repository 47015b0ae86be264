"""The request body: what the gateway reads of it, and the few bytes that it changes.

One pass finds what matters. A body that needs no change travels as it came, or with a question for
usage added at its end; else its top level is taken apart into raw values and put together again, so
each value that we do not set travels byte for byte, and a name given twice reaches the worker once
(the last, which is what we read too).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from inference.errors import bad_field
from inference.routes import Route
from kernel.errors import GanglionError, Malformed

_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode
_ENCODE = msgspec.json.Encoder().encode
_STRING = msgspec.json.Decoder(str).decode
_FLAG = msgspec.json.Decoder(bool | None).decode
_ITEMS = msgspec.json.Decoder(list[Raw]).decode
_DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)

_WHOLE = "a whole number, not negative"
WEIGHT_MAX = 1024
PREFIX_BYTES = 1024  # of a prompt, that tell whose cache may hold it: some 16 blocks of 16 tokens
INCLUDE_USAGE = Raw(b'{"include_usage":true}')
USAGE_MEMBER = b',"stream_options":{"include_usage":true}}'  # it has a member: its model
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


# What asks for an answer to be kept between requests.
STATEFUL = ("background", "previous_response_id", "conversation")
_COUNTS = ("n", "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens")

Count = Annotated[int, Meta(ge=0, le=2**53)]
_NOT_GIVEN = Raw()


class Ask(msgspec.Struct, gc=False):
    """A request body, understood as far as the gateway needs."""

    model: str
    stream: bool | None = None
    stream_options: Raw = _NOT_GIVEN
    n: Count | None = None
    best_of: Count | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    max_output_tokens: Count | None = None
    messages: Raw = _NOT_GIVEN
    prompt: Raw = _NOT_GIVEN
    input: Raw = _NOT_GIVEN
    documents: Raw = _NOT_GIVEN
    text_2: Raw = _NOT_GIVEN
    data_2: Raw = _NOT_GIVEN
    items: Raw = _NOT_GIVEN
    priority: Raw = _NOT_GIVEN
    kv_transfer_params: Raw = _NOT_GIVEN
    request_id: Raw = _NOT_GIVEN
    logits_processors: Raw = _NOT_GIVEN
    logits_processor_pattern: Raw = _NOT_GIVEN
    vllm_xargs: Raw = _NOT_GIVEN
    data_parallel_rank: Raw = _NOT_GIVEN

    @property
    def tokens_max(self) -> int | None:
        """What one sequence may produce, when the client says so."""
        if self.max_completion_tokens is not None:
            return self.max_completion_tokens
        return self.max_tokens if self.max_output_tokens is None else self.max_output_tokens

    @property
    def privileged(self) -> bool:
        """It names a parameter that no tenant may use."""
        return bool(  # what is given is a value of one byte at least
            self.priority
            or self.kv_transfer_params
            or self.request_id
            or self.logits_processors
            or self.logits_processor_pattern
            or self.vllm_xargs
            or self.data_parallel_rank
        )

    @property
    def beginning(self) -> memoryview:
        """The first bytes of what the model is to read, as they stand in the body."""
        for given in (self.messages, self.prompt, self.input):
            if given is not _NOT_GIVEN:
                return memoryview(given)[:PREFIX_BYTES]
        return memoryview(b"")

    def weight(self, many: tuple[str, ...]) -> int:
        """How many sequences run: ``n`` (or ``best_of``) for each item of the members ``many``."""
        if self.n is self.best_of is None and not many:
            return 1
        sequences = max(self.n or 1, self.best_of or 1)
        for name in many:
            given: Raw = getattr(self, name)
            if given is not _NOT_GIVEN:
                sequences *= _prompts(given)
        if sequences > WEIGHT_MAX and self.n is not None:
            raise bad_field("n", f"One request may run at most {WEIGHT_MAX} sequences.")
        return min(sequences, WEIGHT_MAX)


_NUMBER = msgspec.json.Decoder(Count | None).decode
_ASK = msgspec.json.Decoder(Ask).decode


def read(body: bytes, route: Route) -> Ask:
    """Understand a body, or raise ``Malformed`` (400) with the parameter at fault."""
    try:
        ask = _ASK(body)
    except _DECODE_ERRORS:
        raise _what_is_wrong(body) from None
    if ask.stream and route.usage_option:
        _usage_options(ask.stream_options)
    if route.stateless:
        _refuse_state(body)
    return ask


def upstream(
    ask: Ask, body: bytes, route: Route, *, model: str, cache_salt: str
) -> tuple[bytes, bool]:
    """The body for the worker, and whether the client asked for usage in its stream itself.

    An empty ``model`` or ``cache_salt`` leaves the client's.
    """
    renamed = model and model != ask.model
    ask_usage = ask.stream and route.usage_option
    if not (ask_usage or renamed or cache_salt or ask.privileged):
        return body, False
    privileged = ask.privileged
    if not (ask.stream_options or renamed or cache_salt or privileged):
        return body[: body.rindex(b"}")] + USAGE_MEMBER, False
    fields = _FIELDS(body)
    for name in STRIPPED if privileged else ():
        fields.pop(name, None)
    if renamed:
        fields["model"] = Raw(_ENCODE(model))
    if cache_salt:
        fields["cache_salt"] = Raw(_ENCODE(cache_salt))
    asked = False
    if ask_usage:
        fields["stream_options"], asked = _usage_options(ask.stream_options)
    return _ENCODE(fields), asked


def request(route: Route, request_id: str, content: bytes) -> bytes:
    """The whole HTTP request for a worker."""
    return (
        b"POST %b HTTP/1.1\r\nhost: worker\r\ncontent-type: application/json\r\n"
        b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n%b"
        % (route.path, request_id.encode(), len(content), content)
    )


def _refuse_state(body: bytes) -> None:
    """A replica that holds an answer may be gone with the next request."""
    fields = _FIELDS(body)
    for name in STATEFUL:
        if bytes(fields.get(name, b"null")) not in (b"null", b"false"):
            raise bad_field(
                name, f"{name} is not served here: nothing is kept. Send the whole conversation."
            )


def _what_is_wrong(body: bytes) -> GanglionError:
    """Why a body could not be understood: the first parameter that is not what it must be."""
    try:
        fields = _FIELDS(body)
    except _DECODE_ERRORS:
        return Malformed("The request body is not a valid JSON object.")
    if "model" not in fields:
        return bad_field("model", "You must provide a model parameter.")
    for decode, names, kind in (
        (_STRING, ("model",), "a string"),
        (_FLAG, ("stream",), "true or false"),
        (_NUMBER, _COUNTS, _WHOLE),
    ):
        for name in names:
            try:
                decode(fields.get(name, b"null" if name != "model" else b'""'))
            except _DECODE_ERRORS:
                return bad_field(name, f"{name} must be {kind}.")
    return Malformed("The request body cannot be understood.")


def _usage_options(given: Raw) -> tuple[Raw, bool]:
    """Stream options that make the worker tell usage; true when the client asked for it itself."""
    if given is _NOT_GIVEN or bytes(given) == b"null":
        return INCLUDE_USAGE, False
    try:
        options = _FIELDS(given)
        asked = bool(_FLAG(options.get("include_usage", b"null")))
    except _DECODE_ERRORS:
        raise bad_field(
            "stream_options", "stream_options must be an object; include_usage is true or false."
        ) from None
    if asked:
        return given, True
    options["include_usage"] = _TRUE
    options.pop("continuous_usage_stats", None)
    return Raw(_ENCODE(options)), False


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
