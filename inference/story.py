"""An answer that several workers may write, one after another: what it needs of a request, the
request for who goes on, and the stream that makes one answer of theirs. Pure.

Each chunk is asked to tell its usage, so the tokens of a try that was cut are known. What a client
has is its text up to the last whole event; the next worker is given that text and writes on
(``continue_final_message`` of a chat as vLLM knows it, a longer prompt of a completion).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from inference.routes import Route
from inference.sse import DECODE_ERRORS, Usage
from inference.stream import ABORTED, DONE_FRAME, SseStream, without_usage

TEXT_LENGTH_MAX = 1 << 20  # characters; a longer answer is not gone on with
COMPLETION_TOKENS = 16  # what /v1/completions gives where nothing is said
_EMPTY = (b"null", b"false", b"0", b'""', b"[]", b"{}", b'"none"')
_ONE = (*_EMPTY, b"1")
# What ties the end of an answer to its beginning by more than its text.
_NEVER = (
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "top_logprobs",
    "prompt_logprobs",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "guided_json_object",
    "structural_tag",
    "audio",
    "echo",
    "suffix",
    "use_beam_search",
    "prompt_embeds",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "truncate_prompt_tokens",
    "include_stop_str_in_output",
)
_LEAST, _MOST = "min_tokens", ("max_tokens", "max_completion_tokens")
_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode
_ITEMS = msgspec.json.Decoder(list[Raw]).decode
_TEXT = msgspec.json.Decoder(str).decode
_COUNT = msgspec.json.Decoder(int).decode
_ENCODE = msgspec.json.Encoder().encode
_TRUE, _FALSE = Raw(b"true"), Raw(b"false")


class _Message(msgspec.Struct):
    role: str
    content: str | None = None


class _Options(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class _Said(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None
    delta: dict[str, Raw] | None = None
    text: str | None = None


class _Event(msgspec.Struct):
    choices: list[_Said] | None = None
    usage: Usage | UnsetType | None = UNSET


_MESSAGE = msgspec.json.Decoder(_Message).decode
_OPTIONS = msgspec.json.Decoder(_Options | None).decode
_EVENT = msgspec.json.Decoder(_Event).decode


def story_of(body: bytes, route: Route) -> Story | None:
    """For a request whose answer can be gone on with; ``None`` for any other."""
    try:
        fields = _FIELDS(body)
        if not route.usage_option or bytes(fields.get("stream", b"")) != b"true":
            return None
        opening = _opening(fields)
        if opening is None or not _plain(fields):
            return None
        options = _OPTIONS(fields.get("stream_options", b"null")) or _Options()
        limits = {n: _COUNT(fields[n]) for n in (_LEAST, *_MOST) if _given(fields, n)}
    except DECODE_ERRORS:
        return None
    if "messages" not in fields and "max_tokens" not in fields:
        limits["max_tokens"] = COMPLETION_TOKENS
    return Story(fields, opening, limits, options)


class Story:
    """What the client has of its answer, and how the request is told anew."""

    def __init__(
        self, fields: dict[str, Raw], opening: str, limits: dict[str, int], options: _Options
    ) -> None:
        self._fields = fields
        self._opening = opening  # what stood there already: a message to go on with, a prompt
        self._limits = limits
        self._texts: list[str] = []
        self._size = 0
        self.usage_asked = options.include_usage is True
        self.usage_always = self.usage_asked and options.continuous_usage_stats is True
        self.plain = True  # all that came is text
        self.finished = False  # the client has its finish reason
        self.head: dict[str, Raw] = {}  # id, time and model, as the client saw them first
        self.prompt: int | None = None  # tokens of the request as its client wrote it
        self.made = 0  # tokens of the tries that are over
        self.estimated = False

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def begun(self) -> bool:
        """The client has something of it."""
        return bool(self.head)

    def first_body(self) -> bytes:
        """The request as it came, with usage in each chunk."""
        return _ENCODE(self._asking())

    def next_body(self) -> bytes | None:
        """For a worker that is to go on; ``None`` where none can."""
        if not self.plain or self.finished or self._size > TEXT_LENGTH_MAX:
            return None
        fields = self._asking()
        for name, limit in self._limits.items():
            left = limit - self.made
            if left < 1 and name != _LEAST:
                return None
            fields[name] = Raw(b"%d" % max(left, 0))
        if "messages" in fields:
            messages = _ITEMS(fields["messages"])
            if _is_true(fields.get("continue_final_message")):
                messages.pop()
            final = {"role": "assistant", "content": self._opening + self.text}
            fields["messages"] = Raw(_ENCODE([*messages, final]))
            fields["continue_final_message"] = _TRUE
            fields["add_generation_prompt"] = _FALSE
        else:
            fields["prompt"] = Raw(_ENCODE(self._opening + self.text))
        return _ENCODE(fields)

    def add(self, text: str) -> None:
        self._texts.append(text)
        self._size += len(text)

    def over(self, stream: Chapter) -> None:
        """A worker's part has ended before the answer did."""
        stream.counted = True
        prompt, made, estimated = stream.tokens()
        if stream.told and self.prompt is None:
            self.prompt = prompt
        self.made += made
        self.estimated |= estimated

    def totals(self, last: tuple[int, int, bool]) -> tuple[int, int, bool]:
        """Tokens as the client sees them, with those of the last worker."""
        prompt, made, estimated = last
        first = prompt if self.prompt is None else self.prompt
        return first, self.made + made, estimated or self.estimated

    def ending(self) -> bytes | None:
        """What is left to say after a finish reason; ``None`` where that is not known."""
        if not self.finished or (self.usage_asked and (self.estimated or self.prompt is None)):
            return None
        if not self.usage_asked:
            return DONE_FRAME
        usage = _counts(self.prompt or 0, self.made)
        last = _ENCODE({**self.head, "choices": [], "usage": usage})
        return b"data: " + last + b"\n\n" + DONE_FRAME

    def _asking(self) -> dict[str, Any]:
        fields: dict[str, Any] = dict(self._fields)
        given = fields.get("stream_options", b"null")
        options = _FIELDS(given) if bytes(given) != b"null" else {}
        options["include_usage"] = options["continuous_usage_stats"] = _TRUE
        fields["stream_options"] = options
        return fields


class Chapter(SseStream):
    """One worker's part. Of one that goes on, what the client has already is left out: who speaks,
    and the answer's own name."""

    __slots__ = ("_later", "_payload_now", "_story", "counted")

    def __init__(self, story: Story) -> None:
        super().__init__(show_usage=True)
        self._story = story
        self._later = story.begun
        self._payload_now = b""
        self.counted = False  # its tokens are among the story's

    @property
    def told(self) -> bool:
        """The worker told its usage."""
        return self.usage is not None

    def tokens(self) -> tuple[int, int, bool]:
        """Known at any cut where each chunk told them."""
        prompt, made, estimated = super().tokens()
        usage = self.usage
        if usage is not None and usage.prompt is not None and usage.completion is not None:
            estimated = self.chunks_since_usage > 0
        return prompt, made, estimated

    def passes(self, payload: bytes) -> bool:
        return False  # each event is read

    def _payload(self, payload: bytes, event: bytes, out: list[bytes]) -> None:
        self._payload_now = payload
        super()._payload(payload, event, out)

    def _chunk(self, chunk: Any, event: bytes, out: list[bytes]) -> None:
        """As of any stream; ``chunk`` lacks the text of later events."""
        try:
            self._read(_EVENT(self._payload_now), event, out)
        except DECODE_ERRORS:
            self._break("an event is not valid JSON")

    def _read(self, told: _Event, event: bytes, out: list[bytes]) -> None:
        choices = told.choices or []
        if any(choice.finish_reason == ABORTED for choice in choices):
            self._break("the worker gave it up")
            return
        if choices:
            self.chunks_since_usage += 1
        if isinstance(told.usage, Usage):
            self.usage, self.chunks_since_usage = told.usage, 0
        elif told.usage is None:
            told.usage = UNSET
        text, more = _content(choices)
        finish = False
        for choice in choices:
            self._seen.add(choice.index)
            if choice.finish_reason:
                self._ended.add(choice.index)
                finish = True
        content = bool(text) or more or finish
        if self._later and not content and choices:
            return  # it says who speaks, once more
        shows = self._story.usage_always if choices else self._story.usage_asked
        if not choices and told.usage is not UNSET and not shows:
            return
        frame = self._frame(event, told, shows=shows)
        self._pass_on(frame, out, content=content)
        if content:
            self._tell(text, more=more, finish=finish)

    def _tell(self, text: str, *, more: bool, finish: bool) -> None:
        story = self._story
        if not story.head:
            fields = _FIELDS(self._payload_now)
            names = ("id", "object", "created", "model", "system_fingerprint")
            story.head = {name: fields[name] for name in names if name in fields}
        if text:
            story.add(text)
        story.plain = story.plain and not more
        story.finished = story.finished or finish

    def _frame(self, event: bytes, told: _Event, *, shows: bool) -> bytes:
        """The event as the client gets it."""
        if not self._later:
            frame = event + b"\n\n"
            hidden = not shows and b'"usage"' in self._payload_now
            return without_usage(frame) if hidden else frame
        fields: dict[str, Any] = dict(_FIELDS(self._payload_now))
        for name, value in self._story.head.items():
            if name in fields:
                fields[name] = value
        usage = fields.pop("usage", None)
        if shows and usage is not None and isinstance(told.usage, Usage):
            prompt, made, _ = self._story.totals(self.tokens())
            fields["usage"] = {**_FIELDS(usage), **_counts(prompt, made)}
        if told.choices and any(choice.delta for choice in told.choices):
            fields["choices"] = [_without_role(choice) for choice in _ITEMS(fields["choices"])]
        return b"data: " + _ENCODE(fields) + b"\n\n"


def _content(choices: list[_Said]) -> tuple[str, bool]:
    """The text of an event, and whether it holds anything beside the text of one choice."""
    texts, more = [], len(choices) > 1
    for choice in choices:
        more = more or choice.index != 0
        if choice.text:
            texts.append(choice.text)
        for name, value in (choice.delta or {}).items():
            if name == "content" and bytes(memoryview(value)[:1]) == b'"':
                texts.append(_TEXT(value))
            elif name != "role" and bytes(value) not in _EMPTY:
                more = True
    return "".join(texts), more


def _without_role(choice: Raw) -> dict[str, Any]:
    fields: dict[str, Any] = dict(_FIELDS(choice))
    delta = fields.get("delta")
    if delta is not None and bytes(memoryview(delta)[:1]) == b"{":
        fields["delta"] = {n: value for n, value in _FIELDS(delta).items() if n != "role"}
    return fields


def _plain(fields: dict[str, Raw]) -> bool:
    """One answer in plain text is asked for."""
    if any(bytes(fields.get(name, b"null")) not in _EMPTY for name in _NEVER):
        return False
    if any(bytes(fields.get(name, b"null")) not in _ONE for name in ("n", "best_of")):
        return False
    if bytes(fields.get("logprobs", b"null")) not in (b"null", b"false"):
        return False
    shape = fields.get("response_format")
    if shape is None or bytes(shape) == b"null":
        return True
    return _TEXT(_FIELDS(shape).get("type", b'""')) == "text"


def _opening(fields: dict[str, Raw]) -> str | None:
    """The text that the answer's own is to be put behind; ``None`` where it cannot be."""
    if "messages" not in fields:
        return _TEXT(fields.get("prompt", b"null"))
    messages = _ITEMS(fields["messages"])
    if _is_true(fields.get("continue_final_message")):
        final = _MESSAGE(messages[-1]) if messages else _Message("")
        return final.content if final.role == "assistant" else None
    return None if bytes(fields.get("add_generation_prompt", b"true")) == b"false" else ""


def _given(fields: dict[str, Raw], name: str) -> bool:
    return bytes(fields.get(name, b"null")) != b"null"


def _is_true(value: Raw | None) -> bool:
    return value is not None and bytes(value) == b"true"


def _counts(prompt: int, made: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
