"""No secret reaches the log, wherever in an event it stands."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from brain.edge.logs import HIDDEN, configure, hide

pytestmark = pytest.mark.feature("O1")

KEY = "gk_" + "Ab1_" * 10 + "xyz"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        f"key {KEY} was used",
        f"Authorization: Bearer {JWT}",
        f"token={JWT}",
        "dial postgresql://me:hush-hush@db/x failed",
        "Bearer hush-hush-opaque",
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
    ],
)
def test_secrets_inside_text_are_hidden(text: str) -> None:
    shown = hide(text)
    assert HIDDEN in shown
    for secret in (KEY, JWT, "hush-hush", "c2FsdA"):
        assert secret not in shown


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "new_password",
        "secret",
        "client_secret",
        "token",
        "access_token",
        "api_key",
        "Authorization",
        "cookie",
        "master_key",
        "jwt_secret_key",
        "DATABASE_PASSWORD",
        "key",
    ],
)
def test_values_of_secret_names_are_hidden_at_any_depth(name: str) -> None:
    assert "hush" not in str(hide({"a": [{"b": {name: "hush"}}]}))


def test_plain_facts_stay() -> None:
    event = {"event": "request", "status": 200, "ok": True, "key_id": "key_1", "x": None}
    assert hide(event) == event


def test_depth_and_length_have_an_end() -> None:
    deep: object = "x"
    for _ in range(100):
        deep = [deep]
    assert HIDDEN in str(hide(deep))
    assert len(hide("x" * 100_000)) == 20_000


def test_one_json_line_an_event_without_secrets_even_in_tracebacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    before, level, set_up = root.handlers[:], root.level, structlog.get_config()
    try:
        configure(debug=False)
        structlog.get_logger("test").warning("happened", password="hush", note=KEY)
        try:
            raise RuntimeError(f"could not use {KEY}")
        except RuntimeError:
            logging.getLogger("other").exception("failed with %s", JWT)
    finally:
        root.handlers, root.level = before, level
        structlog.configure(**set_up)
    lines = capsys.readouterr().err.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["level"] for event in events] == ["warning", "error"]
    assert not any(secret in "".join(lines) for secret in ("hush", KEY, JWT))
