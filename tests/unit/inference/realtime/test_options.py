"""How a session is set, and what a conversation remembers."""

from __future__ import annotations

from typing import Any

import pytest

from inference.realtime import events
from inference.realtime.conversation import ITEMS_MAX, Conversation, Item
from inference.realtime.options import Options
from kernel.errors import Malformed, NotFound
from tests.support.realtime import session

pytestmark = pytest.mark.feature("A8")


def test_models_are_named_where_openai_names_them() -> None:
    options = Options(model="mind").updated(session())
    assert options.models == {
        "session.model": "mind",
        "session.audio.input.transcription.model": "ears",
        "session.audio.output.model": "voice",
    }


def test_what_is_not_named_stays() -> None:
    options = Options().updated(session()).updated({"type": "realtime", "instructions": "Be brief"})
    assert (options.transcription_model, options.instructions) == ("ears", "Be brief")


def test_turn_detection_can_be_set_and_ended() -> None:
    tuned = {"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 200}
    options = Options().updated(session(turn_detection=tuned))
    assert options.detection is not None
    assert options.detection.sensitivity.silence_ms == 200
    assert options.updated(session(turn_detection=None)).detection is None


def test_what_is_shown_can_be_sent_again() -> None:
    options = Options(model="mind").updated(session())
    assert options.updated(options.shown("sess_1")) == options


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"type": "transcription"}, "session.type"),
        ({"tools": [{"type": "function"}]}, "session.tools"),
        ({"output_modalities": ["audio", "text"]}, "session.output_modalities"),
        ({"max_output_tokens": "many"}, "session.max_output_tokens"),
        ({"max_output_tokens": 0}, "session.max_output_tokens"),
        ({"model": 7}, "session.model"),
        (session(format={"type": "audio/pcmu"}), "session.audio.input.format"),
        (session(format={"type": "audio/pcm", "rate": 7}), "session.audio.input.format"),
        (session(turn_detection={"type": "semantic_vad"}), "session.audio.input.turn_detection"),
        (
            session(turn_detection={"threshold": 2}),
            "session.audio.input.turn_detection.threshold",
        ),
        ({"audio": {"output": {"voice": {"id": "v"}}}}, "session.audio.output.voice"),
        ({"audio": {"output": {"format": {"type": "audio/pcma"}}}}, "session.audio.output.format"),
        ({"audio": {"output": {"speed": 9}}}, "session.audio.output.speed"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(given: dict[str, Any], param: str) -> None:
    with pytest.raises(Malformed) as refused:
        Options().updated(given)
    assert refused.value.param == param


def test_the_messages_are_what_was_said_in_order() -> None:
    conversation = Conversation()
    conversation.add(Item("a", "user", "input_audio", "Hello"))
    conversation.add(Item("b", "user", "input_audio"))  # not written down yet
    conversation.add(Item("c", "assistant", "output_audio", "Hi"), after="a")
    said = [(one["role"], one["content"]) for one in conversation.messages("Be brief")]
    assert said == [("system", "Be brief"), ("user", "Hello"), ("assistant", "Hi")]


def test_an_item_needs_a_name_of_its_own_and_a_known_place() -> None:
    conversation = Conversation()
    conversation.add(Item("a", "user", "input_text", "x"))
    with pytest.raises(Malformed):
        conversation.add(Item("a", "user", "input_text", "x"))
    with pytest.raises(NotFound):
        conversation.add(Item("b", "user", "input_text", "x"), after="z")


def test_the_oldest_are_forgotten() -> None:
    conversation = Conversation()
    for number in range(ITEMS_MAX + 5):
        conversation.add(Item(str(number), "user", "input_text", "x"))
    assert len(conversation.messages("")) == ITEMS_MAX
    with pytest.raises(NotFound):
        conversation.get("4")


def test_what_was_not_heard_is_forgotten() -> None:
    item = Item("a", "assistant", "output_audio", "One. Two. Three.")
    item.spoken = [(1000, "One."), (2000, "Two."), (3000, "Three.")]
    item.heard_until(1500)
    assert item.text == "One. Two."


def test_an_event_that_lacks_a_member_says_which_kind_it_is() -> None:
    with pytest.raises(Malformed) as refused:
        events.body(b'{"type": "input_audio_buffer.append", "audio": 5}', events.Append)
    assert refused.value.param == "audio"


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"{}", b"\xff", b'{"type": null}'])
def test_what_is_no_event_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        events.head(content)
