"""A deployment that follows its load on the running product: a burst, idle, asleep, woken. The
product of this test has its PostgreSQL and Valkey elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import OpenAI

from tests.support.installation import Installation
from tests.support.wait import pause

pytestmark = [pytest.mark.slow, pytest.mark.feature("D6")]
NAME = "wave"
HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
BOUNDS = ("--min", "0", "--max", "3", "--target-in-flight", "2")
QUICK = ("--scale-down-after", "3", "--scale-to-zero-after", "4")


class Watch:
    """Prints how many replicas are ready, and asked for, whenever that changes."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._began = time.monotonic()
        self._last = ""

    def until(self, there: Callable[[Any], bool], seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self._installation.ask("deployments", "show", NAME)
            said = f"{found['ready_replicas']} of {found['replicas']} ready, {found['state']}"
            if said != self._last:
                print(f"{time.monotonic() - self._began:6.1f} s  {said}")
                self._last = said
            if there(found):
                return
            pause(0.3)
        raise AssertionError(f"stayed so: {self._last}")


@contextmanager
def burst(client: OpenAI, width: int) -> Iterator[list[str]]:
    """So many streams at a time, one after another, for as long as the block lasts."""
    wrong: list[str] = []
    ends = threading.Event()

    def run() -> None:
        while not ends.is_set():
            try:
                list(ask(client, stream=True, max_tokens=60))
            except Exception as failure:  # whatever it is, it is told
                wrong.append(str(failure))

    threads = [threading.Thread(target=run) for _ in range(width)]
    for thread in threads:
        thread.start()
    yield wrong
    ends.set()
    for thread in threads:
        thread.join(60)


def starts_a_store(product: Installation) -> bool:
    """Whether a PostgreSQL or Valkey runs beneath it, or has left anything in its home."""
    assert product.process is not None
    below = psutil.Process(product.process.pid).children(recursive=True)
    names = {one.name() for one in below} | set(product.pids())
    made = [product.home / "postgres", product.home / "valkey"]
    return bool(names & {"postgres", "valkey", "valkey-server"}) or any(map(Path.exists, made))


def ask(client: OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(model=NAME, messages=HELLO, **options)


def test_a_burst_scales_it_up_idle_puts_it_to_sleep_and_a_request_wakes_it(
    installation_on_outside_stores: Installation,
) -> None:
    product = installation_on_outside_stores
    up = product.start("--simulate-gpus", "5")
    assert not starts_a_store(product)
    client = OpenAI(
        base_url=f"{up['gateway_url']}/v1", api_key=up["api_key"], max_retries=0, timeout=60
    )
    product.ask("deploy", up["model"], "--name", NAME, *BOUNDS, *QUICK)
    watch = Watch(product)
    with burst(client, 6) as wrong:
        watch.until(lambda found: found["ready_replicas"] == 3)
    watch.until(lambda found: found["state"] == "asleep" and not found["ready_replicas"])
    began = time.monotonic()
    assert ask(client).choices[0].message.content
    print(f"answered {time.monotonic() - began:.1f} s after it was asked, from zero")
    watch.until(lambda found: found["state"] == "asleep" and not found["ready_replicas"])
    headers = {"x-ganglion-keep-alive": "sse"}
    chunks = list(ask(client, stream=True, extra_headers=headers))
    assert chunks[-1].choices[0].finish_reason
    for event in product.ask("deployments", "events", NAME):
        if event["what"] in ("scaled up", "scaled down", "put to sleep", "woken"):
            print(f"{event['what']}: {event['reason']}")
    assert wrong == []
