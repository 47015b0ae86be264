"""The whole product as a user starts it: ``ganglion up``, and the command beside it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli.embedded.child import alive, die_with_parent
from tests.support import warm
from tests.support.prepared import lay
from tests.support.shared import ROOT
from tests.support.wait import free_port

COMMAND = (sys.executable, "-P", "-m", "cli.main")
UP_SECONDS_MAX = 120
STOP_SECONDS_MAX = 10
ENDED_SECONDS_MAX = 60  # on a machine that is busy with other tests, where that is not measured
COMMAND_SECONDS_MAX = 120
HARMED = ("fresh_installation", "installation_on_outside_stores")
COLD = (("up",), ("demo",), ("--version",))  # by their command line, as a person starts them
OPEN_FILES = 1024  # what a shell on a plain Debian gives a program
OURS = ("GANGLION_", "DATABASE_URL", "REDIS_URL", "BRAIN_", "GATEWAY_", "AGENT_", "SIMULATE_")


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This machine's environment with none of our settings but those of this test."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(OURS)}
    free = {"POD_FRONT_PORT": "0", "SSH_PORT": "0"}
    return {**kept, **free, "GANGLION_HOME": str(home), "PYTHONPATH": str(ROOT), **(extra or {})}


def command(
    home: Path, *arguments: str, text: str = "", extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``ganglion`` to its end."""
    own = environment(home, extra)
    if arguments[:1] not in COLD:
        return _warm_command(home, arguments, own, text)
    return subprocess.run(
        [*COMMAND, *arguments],
        env=own,
        cwd=home.parent,
        input=text,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )


def _as_from_a_shell() -> Callable[[], None]:
    """What it does before it becomes our program."""
    tie = die_with_parent(signal.SIGTERM)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def become() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
        tie()

    return become


def _warm_command(
    home: Path, arguments: Sequence[str], own: Mapping[str, str], text: str
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = warm.start(
            "command",
            arguments,
            environment=own,
            output=output.fileno(),
            errors=errors.fileno(),
            folder=home.parent,
            text=text,
        )
        try:
            code = process.wait(COMMAND_SECONDS_MAX)
        finally:
            process.kill()
        said = [(file.seek(0), file.read().decode())[1] for file in (output, errors)]
    return subprocess.CompletedProcess([*COMMAND, *arguments], code, *said)


@dataclass
class Installation:
    """A run of ``ganglion up`` on free ports. ``ready`` is what it said once it was up.

    ``data`` is laid into a home that has no database yet; ``stores`` name those that run elsewhere.
    """

    home: Path
    data: Path | None = None
    stores: Mapping[str, str] = field(default_factory=dict)
    ready: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, extra: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Start it and wait; what it printed: its addresses, or its error."""
        process = self.begin(*arguments, extra=extra)
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line.decode()
            if line.rstrip() == b"}":
                break
        self.ready = json.loads(text or "{}")
        return self.ready

    def begin(
        self, *arguments: str, extra: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start it without waiting."""
        if self.data is not None:
            lay(self.data, self.home)
        # Which a part that was killed finds free again, whatever other tests open meanwhile.
        ports = ("--brain-port", str(free_port()), "--gateway-port", str(free_port()))
        front = {"POD_FRONT_PORT": str(free_port()), "SSH_PORT": str(free_port())}
        with (self.home.parent / f"{self.home.name}.up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--json", *ports, *arguments],
                env=environment(self.home, {**front, **self.stores, **(extra or {})}),
                cwd=self.home.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                preexec_fn=_as_from_a_shell(),
            )
        return self.process

    def start_with_docker(self, dockerd: str, **settings: str) -> None:
        """Start it with a node that runs containers."""
        own = {
            "AGENT_ENGINE": "docker",
            "DOCKER_HOST": dockerd,
            "AGENT_FIREWALL": "false",
            "AGENT_DISK_RESERVE_MIB": "0",
        }
        ready = self.start("--simulate-gpus", "2", extra={**own, **settings})
        log = self.home.parent / f"{self.home.name}.up.log"
        assert "brain_url" in ready, f"{ready} {log.read_text()[-3000:]}"

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(ENDED_SECONDS_MAX)
        finally:
            self.process.kill()

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal does it: SIGINT for all of its foreground group."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """``kill -9``, as the kernel does when memory is short."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return command(self.home, *arguments, text=text)

    def ask(self, *arguments: str, text: str = "") -> Any:
        """A command's answer as JSON; it must succeed."""
        done = self.run(*arguments, "--json", text=text)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
        return json.loads(done.stdout)

    def containers(self, client: Any, image: str) -> list[dict[str, Any]]:
        """Its own with this image, ended ones as well: other products may share the Docker."""
        identity = json.loads((self.home / "agent" / "identity.json").read_text())
        label = f"ganglion.installation={identity['installation_id']}"
        found = client.containers(all=True, filters={"label": label})
        return [one for one in found if image in one["Image"]]

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "state.json").read_text())
        return found

    def pids(self) -> dict[str, int | None]:
        """``None``: it is being started again."""
        return {name: part["pid"] for name, part in self.state()["parts"].items()}

    def living(self, pids: Mapping[str, int | None]) -> list[str]:
        return [name for name, pid in pids.items() if pid is not None and alive(pid)]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that share the one that stays up go to one xdist worker; those that start one that
    they harm go to a second, one after another: two cores hold no more at once.
    """
    for item in items:
        asked = {"installation", *HARMED} & set(getattr(item, "fixturenames", ()))
        if asked:
            item.add_marker(pytest.mark.slow)
            one = "installation" if "installation" in asked else "second"
            item.add_marker(pytest.mark.xdist_group(one))


def remove(folder: Path) -> None:
    """The folder and all that lies in it. Volumes of pods are mounted there, and outlive agents."""
    for line in Path("/proc/mounts").read_text().splitlines():
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """One that is up, for tests that leave it running."""
    folder = Path(tempfile.mkdtemp(prefix="ganglion-test-"))
    found = Installation(folder / "home")
    ready = found.start()
    assert "brain_url" in ready, f"{ready} {(folder / 'home.up.log').read_text()[-3000:]}"
    yield found
    found.stop()
    remove(folder)


@pytest.fixture
def fresh_installation() -> Iterator[Installation]:
    """One that the test itself starts and harms."""
    folder = Path(tempfile.mkdtemp(prefix="ganglion-test-"))
    found = Installation(folder / "home")
    yield found
    if found.process is not None and found.process.poll() is None:
        found.stop()
    remove(folder)


@pytest.fixture
def installation_on_outside_stores(database_url: str, valkey_url: str) -> Iterator[Installation]:
    """One that the test starts, on a PostgreSQL and a Valkey that run here already."""
    folder = Path(tempfile.mkdtemp(prefix="ganglion-test-"))
    stores = {"DATABASE_URL": database_url, "REDIS_URL": valkey_url}
    found = Installation(folder / "home", stores=stores)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.stop()
    remove(folder)
