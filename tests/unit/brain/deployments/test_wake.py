"""The hint that wakes a tick early: none is lost to one on its way, and none does harm."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from brain.deployments import tasks

SECONDS_MAX = 60


class Slow:
    """Where a hint is sent, which takes until ``go``."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def send_task(self, name: str, **_: Any) -> None:
        self.sent.append(name)
        self.begun.set()
        assert self.go.wait(SECONDS_MAX)


def waking(app: object) -> tasks.Wake:
    wake = tasks.Wake("redis://127.0.0.1:1/0")
    wake._app = app  # type: ignore[assignment]
    return wake


def ended(wake: tasks.Wake) -> bool:
    """Once nothing is on its way."""
    return wake._sending.acquire(timeout=SECONDS_MAX)


def test_what_is_asked_while_one_is_on_its_way_is_sent_after_it_once() -> None:
    app = Slow()
    wake = waking(app)
    wake()
    assert app.begun.wait(SECONDS_MAX)
    for _ in range(5):
        wake()
    app.go.set()
    assert ended(wake)
    assert app.sent == [tasks.DEPLOYMENTS] * 2


def test_it_sends_nothing_more_once_it_is_closed() -> None:
    app = Slow()
    wake = waking(app)
    wake()
    assert app.begun.wait(SECONDS_MAX)
    wake()
    wake.close()
    app.go.set()
    assert ended(wake)
    assert len(app.sent) == 1


def test_without_a_thread_to_spare_it_neither_fails_nor_stays_silent_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Slow()
    app.go.set()
    wake = waking(app)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", refuse)
        wake()
    assert app.sent == []
    wake()
    assert app.begun.wait(SECONDS_MAX)


def test_a_broker_that_is_away_is_no_error() -> None:
    wake = tasks.Wake("redis://127.0.0.1:1/0")
    wake()
    assert ended(wake)
