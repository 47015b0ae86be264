"""Shells and commands in a pod's container, spoken frame by frame, on a real dockerd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import msgspec
import psutil
import pytest

from kernel.clock import SystemClock
from kernel.wire import encode
from kernel.wire.shell import Exit, Frames, Kind, Open, Size, frame
from node_agent.engine_docker import DockerEngine
from node_agent.engine_process import ProcessEngine, ProcessPlaces
from node_agent.records import Phase, Work
from node_agent.report import Progress
from node_agent.shell import Shells
from tests.support.docker_hand import INSTALLATION, docker_hand, pod, running, said_inside
from tests.support.wait import stretch, until

pytestmark = [pytest.mark.feature("E3"), pytest.mark.real("dockerd")]


@dataclass
class FarEnd:
    """The front's side of one shell."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    frames: Frames = field(default_factory=Frames)
    got: dict[Kind, bytes] = field(default_factory=dict)
    exit: Exit | None = None

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        self.writer.write(frame(kind, payload))

    def type(self, text: str) -> None:
        self.send(Kind.STDIN, text.encode())

    async def take(self) -> bool:
        received = await self.reader.read(65536)
        for kind, payload in self.frames.take(received):
            if kind is Kind.EXIT:
                self.exit = msgspec.json.decode(payload, type=Exit)
            else:
                self.got[kind] = self.got.get(kind, b"") + payload
        return bool(received)

    async def ended(self) -> Exit:
        async with asyncio.timeout(30):
            while self.exit is None and await self.take():
                pass
        assert self.exit is not None
        return self.exit

    async def shows(self, text: bytes, kind: Kind = Kind.STDOUT) -> None:
        async with asyncio.timeout(30):
            while text not in self.got.get(kind, b""):
                assert await self.take(), self.got


@pytest.fixture
async def engine(
    dockerd: str, engine_client: docker.APIClient, tmp_path: Path
) -> AsyncIterator[DockerEngine]:
    async with docker_hand(dockerd, engine_client, tmp_path) as engine:
        yield engine


@pytest.fixture
async def door(engine: DockerEngine) -> AsyncIterator[tuple[int, dict[str, str]]]:
    """A port whose connections are served as shells of the lease named in ``lease``."""
    shells = Shells(engine, SystemClock(), installation_id=INSTALLATION)
    lease: dict[str, str] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shells.serve_shell(lease["id"], reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], lease
    server.close()


Door = tuple[int, dict[str, str]]


async def entered(door: Door, work: Work, asked: Open) -> FarEnd:
    door[1]["id"] = work.lease_id
    end = FarEnd(*await asyncio.open_connection("127.0.0.1", door[0]))
    end.send(Kind.OPEN, encode(asked))
    return end


async def the_pod(engine: DockerEngine, line: str = "sleep 300") -> Work:
    return await running(engine, pod(line, shell=True))


async def test_a_command_gives_its_output_errors_and_code(engine: DockerEngine, door: Door) -> None:
    end = await entered(door, await the_pod(engine), Open("echo out; echo err >&2; exit 7"))
    assert (await end.ended()).code == 7
    assert end.got == {Kind.STDOUT: b"out\n", Kind.STDERR: b"err\n"}


async def test_input_goes_in_and_its_end_is_told(engine: DockerEngine, door: Door) -> None:
    end = await entered(door, await the_pod(engine), Open("cat; echo done"))
    sent = b"x" * 1_000_000
    for at in range(0, len(sent), 60_000):
        end.send(Kind.STDIN, sent[at : at + 60_000])
    end.send(Kind.STDIN_END)
    assert (await end.ended()).code == 0
    assert end.got[Kind.STDOUT] == sent + b"done\n"


async def test_a_terminal_has_a_size_that_changes(engine: DockerEngine, door: Door) -> None:
    asked = Open(tty=True, size=Size(101, 33), environment={"GREETING": "hallo"})
    end = await entered(door, await the_pod(engine), asked)
    end.type("busybox stty size; echo $TERM-$GREETING\n")
    await end.shows(b"33 101")
    await end.shows(b"xterm-256color-hallo")
    end.send(Kind.RESIZE, encode(Size(77, 22)))
    end.type("busybox stty size\n")
    await end.shows(b"22 77")
    end.type("exit 3\n")
    assert (await end.ended()).code == 3


async def test_a_signal_reaches_the_command(engine: DockerEngine, door: Door) -> None:
    """Even one that comes before Docker tells the program's pid, as one in six does here."""
    line = "trap 'echo caught; exit 9' TERM; echo up; while true; do sleep 0.1; done"
    work = await the_pod(engine)
    for _ in range(12):
        end = await entered(door, work, Open(line))
        await end.shows(b"up")
        end.send(Kind.SIGNAL, b"TERM")
        assert (await end.ended()).code == 9
        assert b"caught" in end.got[Kind.STDOUT]


@pytest.mark.parametrize("tty", [False, True])
async def test_what_the_far_end_leaves_is_killed(
    engine: DockerEngine, engine_client: docker.APIClient, door: Door, tty: bool
) -> None:
    work = await the_pod(engine)
    line = "trap '' HUP; echo up; sleep 4321 & while true; do sleep 0.1; done"
    end = await entered(door, work, Open(line, tty=tty))
    await end.shows(b"up")
    assert "sleep 4321" in said_inside(engine_client, work, "busybox ps")
    end.writer.close()

    def left() -> str:
        shown = said_inside(engine_client, work, "busybox ps")
        assert "busybox ps" in shown
        return shown

    await until(lambda: "4321" not in left(), 60)
    assert "trap" not in left()


async def test_programs_left_at_their_first_byte_are_killed(
    engine: DockerEngine, engine_client: docker.APIClient, door: Door
) -> None:
    work = await the_pod(engine)
    for _ in range(12):
        end = await entered(door, work, Open("echo up; sleep 4321"))
        await end.shows(b"up")
        assert end.exit is None
        end.writer.close()
    await until(lambda: "4321" not in said_inside(engine_client, work, "busybox ps"), 60)


async def test_a_far_end_that_does_not_read_holds_the_program_back(
    engine: DockerEngine, engine_client: docker.APIClient, door: Door
) -> None:
    work = await the_pod(engine)
    before = psutil.Process().memory_info().rss
    end = await entered(door, work, Open("yes 0123456789012345678901234567890123456789"))
    await end.shows(b"0123")
    await stretch(2.0)
    grown = psutil.Process().memory_info().rss - before
    assert grown < 20 << 20
    end.writer.close()
    await until(lambda: "yes 0123" not in said_inside(engine_client, work, "busybox ps"), 60)


@pytest.mark.parametrize(
    ("line", "shell", "says"),
    [("sleep 300", False, "allows no shell"), ("exit 0", True, "does not run")],
)
async def test_where_there_is_no_shell_the_reason_is_told(
    engine: DockerEngine, door: Door, line: str, shell: bool, says: str
) -> None:
    await engine.start(wanted := pod(line, shell=shell), Progress())
    found = [work for work in await engine.look() if work.lease_id == wanted.lease.lease_id]
    if line == "exit 0":
        await until(lambda: _gone(engine, found[0]))
    end = await entered(door, found[0], Open("true"))
    told = await end.ended()
    assert says in told.reason
    assert told.code == 255


async def test_a_frame_that_is_none_ends_it(engine: DockerEngine, door: Door) -> None:
    end = await entered(door, await the_pod(engine), Open("cat"))
    end.writer.write(b"\xff\xff\xff\xff\xff")
    assert "no frame" in (await end.ended()).reason


async def test_plain_processes_have_no_shell(tmp_path: Path) -> None:
    places = ProcessPlaces(vllm="vllm", models=tmp_path)
    engine = ProcessEngine(tmp_path, host_boot_id="b", clock=SystemClock(), places=places)
    work = Work("lease", 1, INSTALLATION, frozenset(), Phase.RUNNING, "1:1", shell=True)
    with pytest.raises(Exception, match="a pod in a container"):
        await engine.execute(work, ["sh"], tty=False, env=[])


async def _gone(engine: DockerEngine, work: Work) -> bool:
    return all(w.phase is not Phase.RUNNING for w in await engine.look() if w.ref == work.ref)
