"""A deployment in full on the running product: updated, scaled and drained under load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from cli.embedded.child import die_with_parent
from tests.support.installation import Installation, environment
from tests.support.shared import ROOT
from tests.support.wait import free_port, pause

pytestmark = [pytest.mark.slow, pytest.mark.feature("D3")]
NAME = "rolling"
WAIT_SECONDS_MAX = 180
FOLLOWED_SECONDS_MAX = 60


def until(there: Any, what: str, seconds: float = WAIT_SECONDS_MAX) -> Any:
    """Its first true answer; an error that says what never came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = there()
        if found:
            return found
        pause(0.2)
    raise AssertionError(f"never: {what}")


class Load:
    """Streams through a gateway, one after another in each thread, until it is told to end."""

    def __init__(self, url: str, key: str, threads: int = 4) -> None:
        self.client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60)
        self.whole = 0
        self.wrong: list[str] = []
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(60)
        self.client.close()

    def _run(self) -> None:
        while not self._ends.is_set():
            try:
                said = stream(self.client, NAME, tokens=30)
            except Exception as failure:  # whatever it is, it is counted
                said = f"{type(failure).__name__}: {failure}"[:300]
            with self._lock:
                if said == "length":
                    self.whole += 1
                else:
                    self.wrong.append(said)


def stream(client: OpenAI, model: str, *, tokens: int, began: threading.Event | None = None) -> str:
    """How one stream ended, as the worker said. ``began`` is set at its first chunk."""
    reason = "no end"
    chunks = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Tell me all of it."}],
        max_tokens=tokens,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    for chunk in chunks:
        if began is not None:
            began.set()
        if chunk.choices and chunk.choices[0].finish_reason:
            reason = chunk.choices[0].finish_reason
    return reason


def key_of(installation: Installation) -> str:
    found = json.loads((installation.home / "credentials").read_text())
    return str(found["api_key"])


def show(installation: Installation) -> dict[str, Any]:
    found: dict[str, Any] = installation.ask("deployments", "show", NAME)
    return found


@pytest.fixture
def deployed(installation: Installation) -> Iterator[Installation]:
    """Two workers of 20 tokens a second, with a GPU to spare."""
    speed = "--argument=--tokens-per-second=20"
    installation.ask("deploy", "ganglion/stand-in", "--name", NAME, "--replicas", "2", speed)
    yield installation
    installation.ask("stop", NAME)
    installation.ask("deployments", "delete", NAME)


def test_an_update_and_a_return_lose_no_request(deployed: Installation) -> None:
    url, key = deployed.ready["gateway_url"], key_of(deployed)
    with Load(url, key) as load:
        until(lambda: load.whole >= 4, "a first round of streams")
        first = deployed.ask("deployments", "update", NAME, "--argument=--tokens-per-second=40")
        done = load.whole
        until(lambda: load.whole >= done + 4, "streams from the new workers")
        back = deployed.ask("deployments", "rollback", NAME)
    assert load.wrong == []
    assert load.whole > 20
    assert (first["revision"], first["rollout"]["state"]) == (2, "complete")
    assert (back["revision"], back["arguments"]) == (1, ["--tokens-per-second=20"])
    listed = deployed.ask("deployments", "revisions", NAME)
    assert [(one["revision"], one["outcome"]) for one in listed] == [
        (2, "complete"),
        (1, "complete"),
    ]


@pytest.mark.long
def test_a_revision_that_gets_not_ready_is_given_up_while_the_old_one_serves(
    deployed: Installation,
) -> None:
    url, key = deployed.ready["gateway_url"], key_of(deployed)
    with Load(url, key, threads=2) as load:
        slow = "--argument=--load-seconds=600"
        told = deployed.run("deployments", "update", NAME, slow, "--deadline", "10")
    assert told.returncode == 1
    assert "Revision 2 was given up for revision 1" in told.stderr
    assert load.wrong == []
    until(lambda: show(deployed)["rollout"]["state"] == "complete", "the failed worker's end")
    found = show(deployed)
    assert (found["revision"], found["ready_replicas"]) == (1, 2)


@pytest.mark.long
def test_it_is_scaled_up_down_to_zero_and_back(deployed: Installation) -> None:
    for wanted, state in ((3, "running"), (1, "running"), (0, "asleep"), (1, "running")):
        deployed.ask("deployments", "scale", NAME, str(wanted))

        def there(wanted: int = wanted, state: str = state) -> bool:
            found = show(deployed)
            live = [r for r in found["replica_list"] if r["ended_at"] is None]
            return found["state"] == state and found["ready_replicas"] == wanted == len(live)

        until(there, f"{wanted} replicas")
    assert "scaled" in [e["what"] for e in deployed.ask("deployments", "events", NAME)]


@pytest.mark.long
def test_idle_and_too_long_it_stops_by_itself(deployed: Installation) -> None:
    other = "short-lived"
    deployed.ask("deploy", "ganglion/stand-in", "--name", other, "--max-duration", "60")
    deployed.ask("deployments", "update", NAME, "--idle-stop", "60")
    until(lambda: show(deployed)["state"] == "stopped", "the stop of an idle one", 200)
    assert show(deployed)["asked_reason"] == "it was idle for 60 s"
    ended = until(lambda: stopped(deployed, other), "the stop of one that ran too long", 200)
    assert ended["asked_reason"] == "its longest duration of 60 s is over"
    deployed.ask("deployments", "delete", other)


def stopped(installation: Installation, name: str) -> dict[str, Any] | None:
    found: dict[str, Any] = installation.ask("deployments", "show", name)
    return found if found["state"] == "stopped" else None


def test_logs_live_and_past_by_replica(deployed: Installation) -> None:
    first = until(lambda: deployed.ask("logs", NAME, "--tail", "50"), "its first lines")
    replica = first[0]["replica_id"]
    assert all(line["stream"] in ("stdout", "stderr", "agent") for line in first)
    command = [sys.executable, "-P", "-m", "cli.main", "logs", NAME, "-f", "--json", "--tail", "1"]
    with subprocess.Popen(
        command,
        env=environment(deployed.home),
        cwd=deployed.home.parent,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),
    ) as following:
        assert following.stdout is not None
        late = threading.Timer(FOLLOWED_SECONDS_MAX, following.kill)
        late.start()
        last = json.loads(following.stdout.readline())  # it listens now
        deployed.ask("deployments", "scale", NAME, "3")
        line = json.loads(following.stdout.readline())
        late.cancel()
        following.terminate()
    assert {"replica_id", "number", "at", "stream", "text"} <= set(line)
    assert (line["replica_id"], line["number"]) != (last["replica_id"], last["number"])
    deployed.ask("deployments", "scale", NAME, "0")
    until(lambda: show(deployed)["state"] == "asleep", "zero replicas")
    past = deployed.ask("logs", NAME, "--replica", replica, "--since", "1h", "--tail", "1000")
    assert {one["replica_id"] for one in past} == {replica}
    assert deployed.ask("logs", NAME, "--since", "1s", "--replica", replica) != past


@contextmanager
def second_gateway(installation: Installation) -> Iterator[str]:
    """Another gateway of the same brain; its address."""
    port = free_port()
    secrets = json.loads((installation.home / "secrets.json").read_text())
    own = {
        "GATEWAY_TOKEN": secrets["GATEWAY_TOKEN"],
        "BRAIN_URL": installation.ready["brain_url"],
        "GATEWAY_PORT": str(port),
        "GATEWAY_NAME": "second",
        "GATEWAY_SPOOL_DIR": str(installation.home / "second" / "spool"),
        "GATEWAY_DRAIN_SECONDS": "1",
    }
    url = f"http://127.0.0.1:{port}"
    with (installation.home / "second.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "inference.app"],
            env={**environment(installation.home), **own},
            cwd=ROOT,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(),
        )
    try:
        until(lambda: answers(f"{url}/health/ready"), "the second gateway")
        yield url
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


class Slow(threading.Thread):
    """One stream of so many tokens at 20 a second; how it ended."""

    def __init__(self, url: str, key: str, tokens: int) -> None:
        super().__init__(daemon=True)
        self.client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=120)
        self.tokens = tokens
        self.ended = ""
        self.runs = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            self.ended = stream(self.client, NAME, tokens=self.tokens, began=self.runs)
        except Exception as failure:  # the end that is looked for
            self.ended = f"error: {failure}"


def test_a_drain_waits_for_two_gateways_and_cuts_what_is_beyond_its_time(
    deployed: Installation,
) -> None:
    url, key = deployed.ready["gateway_url"], key_of(deployed)
    deployed.ask("deployments", "update", NAME, "--drain-seconds", "20", "--no-wait")
    deployed.ask("deployments", "scale", NAME, "0")
    until(lambda: show(deployed)["state"] == "asleep", "zero replicas")
    deployed.ask("deployments", "scale", NAME, "1")
    until(lambda: show(deployed)["ready_replicas"] == 1, "a worker with the new time to drain")
    with second_gateway(deployed) as other:
        until(lambda: can_ask(url, key), "an answer by the first gateway")
        until(lambda: can_ask(other, key), "an answer by the second gateway")
        inside, beyond = Slow(url, key, 120), Slow(other, key, 2000)
        until(lambda: _both_run(inside, beyond), "both under way")
        began = time.monotonic()
        deployed.ask("deployments", "scale", NAME, "0")
        inside.join(60)
        assert inside.ended == "length", inside.ended
        assert show(deployed)["replica_list"][-1]["state"] == "draining"
        beyond.join(60)
        lasted = time.monotonic() - began
    assert beyond.ended != "length"
    assert 16 <= lasted <= 80, lasted
    until(lambda: show(deployed)["state"] == "asleep", "the end of the drain")
    until(lambda: "failed" in ends(deployed), "the mark of the stream that was cut")
    events = deployed.ask("deployments", "events", NAME)
    assert any("20 s to drain are over" in event["reason"] for event in events)


def ends(installation: Installation) -> str:
    """How the newest requests to it ended, as their receipts tell."""
    rows = installation.ask("usage", "--deployment", NAME, "--limit", "2")
    told = [installation.ask("receipt", row["request_id"]) for row in rows]
    return ", ".join(str(piece["end"]) for one in told for piece in one["segments"])


def _both_run(*streams: Slow) -> bool:
    for stream in streams:
        assert not stream.ended, stream.ended
    return all(stream.runs.is_set() for stream in streams)


def can_ask(url: str, key: str) -> bool:
    """It has the new worker in its table, and a link to it."""
    body = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    head = {"authorization": f"Bearer {key}"}
    answer = httpx.post(f"{url}/v1/chat/completions", headers=head, json=body, timeout=30)
    return answer.status_code == 200


CANARY = "canary-51d2c0aa-of-the-product"


@pytest.mark.feature("E1")
def test_a_secret_reaches_the_worker_and_nothing_else(deployed: Installation) -> None:
    told = deployed.run("secret", "set", "HF_TOKEN", text=CANARY + "\n")
    assert told.returncode == 0, told.stderr
    assert [one["name"] for one in deployed.ask("secret", "list")] == ["HF_TOKEN"]
    deployed.ask("deployments", "update", NAME, "--secret", "HF_TOKEN")
    workers = until(lambda: environments_with(CANARY), "a worker that has it")
    assert all("standins.worker" in command for command in workers)
    assert files_with(deployed.home, CANARY) == []
    assert CANARY not in json.dumps(show(deployed))
    deployed.ask("deployments", "update", NAME, "--no-secrets")
    deployed.ask("secret", "delete", "HF_TOKEN")


def environments_with(words: str) -> list[str]:
    """Command lines of the processes whose environment holds these words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if words.encode() in (folder / "environ").read_bytes():
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found += [line] if line else []  # it ends just now
        except OSError:
            continue
    return found


def files_with(home: Path, words: str) -> list[str]:
    """Files of the product that hold these words: its database, logs, state, spool."""
    found = []
    for folder, _, names in os.walk(home):
        for name in names:
            try:
                if words.encode() in (Path(folder) / name).read_bytes():
                    found.append(str(Path(folder) / name))
            except OSError:
                continue
    return found
