"""The process hand: workers as plain processes, for development and CPU-only machines.

Used only with ``AGENT_ENGINE=process``. A record is written before the process is made, and
tells pid and start time after; so an agent that was restarted finds all of its work again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from kernel.clock import NS, Clock
from kernel.wire.agent import LaunchSpec, WorkUsage
from node_agent.engine import Exec, Hold, Order, StartFailed, StartRefused, log_path
from node_agent.files import read_if_there, write_private
from node_agent.processes import (
    LEASE_VARIABLE,
    die_with_parent,
    find_leader,
    free_port,
    members,
    signal_group,
    signal_one,
    start_ticks,
)
from node_agent.records import Phase, Work
from node_agent.report import Progress

log = structlog.get_logger(__name__)
KILL_SECONDS_MAX = 10.0
POLL_SECONDS = 0.05
MODEL_NAME = "--served-model-name"
PASSED_ON = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH", "STAND_IN_JOURNAL")
CODE_ROOT = Path(__file__).resolve().parent.parent


class ProcessRecord(Struct, frozen=True):
    """What is on disk about one process. ``pid`` 0 = it was about to be made."""

    lease_id: str
    epoch: int
    installation_id: str
    gpu_uuids: list[str]
    ttl_seconds: int
    host_boot_id: str
    port: int
    pid: int = 0
    start_ticks: int = 0


@dataclass(frozen=True)
class ProcessPlaces:
    """What ``{vllm}`` stands for on this host, and where models lie."""

    vllm: str
    models: Path

    def model_path(self, process: list[str]) -> str:
        """The folder of the model that the worker is to serve; ``StartRefused`` if outside."""
        if MODEL_NAME not in process[:-1]:
            return str(self.models)
        path = (self.models / process[process.index(MODEL_NAME) + 1]).resolve()
        if not path.is_relative_to(self.models.resolve()):
            raise StartRefused("The model's name leads out of the models' folder.")
        return str(path)


class ProcessEngine:
    """Starts ``LaunchSpec.process``; the worker leads a process group of its own."""

    kind = "process"

    def __init__(
        self,
        work_home: Path,
        *,
        host_boot_id: str,
        clock: Clock,
        places: ProcessPlaces,
        die_with_agent: bool = False,
    ) -> None:
        self._home = work_home
        self._boot = host_boot_id
        self._clock = clock
        self._places = places
        self._before_exec: Callable[[], None] | None = die_with_parent() if die_with_agent else None
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def version(self) -> str | None:
        return None

    async def look(self) -> tuple[Work, ...]:
        return tuple(self._seen(record) for record in self._records())

    async def start(self, order: Order, progress: Progress) -> None:
        lease = order.lease
        if not lease.launch.process:
            raise StartRefused(
                "This model has no process form; run the agent with AGENT_ENGINE=docker."
            )
        if lease.launch.volumes:
            raise StartRefused("Volumes need containers; run the agent with AGENT_ENGINE=docker.")
        if self._record(lease.lease_id) is not None:
            raise StartFailed("The process of an earlier start is not yet gone.")
        port = free_port()
        arguments = self._arguments(lease.launch, port)
        record = ProcessRecord(
            lease_id=lease.lease_id,
            epoch=lease.epoch,
            installation_id=order.installation_id,
            gpu_uuids=lease.gpu_uuids,
            ttl_seconds=lease.ttl_seconds,
            host_boot_id=self._boot,
            port=port,
        )
        self._write(record)
        try:
            child = self._spawn(arguments, order, record)
        except OSError as error:
            self._record_path(lease.lease_id).unlink(missing_ok=True)
            raise StartRefused(
                f"{lease.launch.process[0]} cannot be started here: {error.strerror}."
            ) from error
        self._children[lease.lease_id] = child
        ticks = start_ticks(child.pid) or 0
        self._write(msgspec.structs.replace(record, pid=child.pid, start_ticks=ticks))

    async def end(self, work: Work, drain_seconds: float) -> None:
        record = self._record(work.lease_id)
        if record is None:
            return
        record = self._completed(record)
        if self._alive(record):
            signal_group(record.pid, signal.SIGTERM)
            await self._until_dead(record, drain_seconds)
        await self._kill_rest(record)
        child = self._children.pop(work.lease_id, None)
        if child is not None:
            child.poll()
        self._record_path(work.lease_id).unlink(missing_ok=True)
        shutil.rmtree(self._scratch(work.lease_id), ignore_errors=True)

    async def collect_logs(self, work: Work) -> None:
        return None  # the process writes into the file itself

    async def usage(self, work: Work) -> WorkUsage | None:
        return None

    async def written_mib(self, work: Work) -> int | None:
        return None

    async def gpu_trouble(self, work: Work) -> str:
        return ""  # it sees what the host sees

    async def execute(self, work: Work, command: list[str], *, tty: bool, env: list[str]) -> Exec:
        raise StartRefused("This node runs plain processes: a shell needs a pod in a container.")

    async def hardening(self) -> list[Hold]:
        return [Hold("containers", False, "AGENT_ENGINE=process keeps nothing apart.")]

    async def tidy(self, installation_id: str, busy: set[str]) -> None:
        return None

    async def close(self) -> None:
        return None

    def _spawn(
        self, arguments: list[str], order: Order, record: ProcessRecord
    ) -> subprocess.Popen[bytes]:
        scratch = self._scratch(record.lease_id)
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        with log_path(self._home, record.lease_id).open("ab") as output:
            return subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                env=self._environment(order, record),
                start_new_session=True,
                preexec_fn=self._before_exec,  # noqa: PLW1509  one prctl call, library loaded before
            )

    def _arguments(self, launch: LaunchSpec, port: int) -> list[str]:
        values = {
            "{port}": str(port),
            "{python}": sys.executable,
            "{vllm}": self._places.vllm,
            "{model_path}": self._places.model_path(launch.process),
        }
        filled = []
        for argument in launch.process:
            for name, value in values.items():
                argument = argument.replace(name, value)  # noqa: PLW2901
            filled.append(argument)
        return filled

    def _environment(self, order: Order, record: ProcessRecord) -> dict[str, str]:
        """As little as works: nothing of the agent's own environment but ``PASSED_ON``."""
        scratch = str(self._scratch(record.lease_id))
        own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        own |= {
            "HOME": scratch,
            "TMPDIR": scratch,
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(CODE_ROOT),
            "CUDA_VISIBLE_DEVICES": "" if order.simulated else ",".join(record.gpu_uuids),
        }
        fixed = {LEASE_VARIABLE: record.lease_id}
        secret = order.secrets.environment if order.secrets is not None else {}
        return own | order.lease.launch.environment | secret | fixed

    def _seen(self, record: ProcessRecord) -> Work:
        record = self._completed(record)
        alive = self._alive(record)
        return Work(
            lease_id=record.lease_id,
            epoch=record.epoch,
            installation_id=record.installation_id,
            gpu_uuids=frozenset(record.gpu_uuids),
            phase=Phase.RUNNING if alive else Phase.EXITED,
            ref=f"{record.pid}:{record.start_ticks}",
            port=record.port,
            ttl_seconds=record.ttl_seconds,
            exit_reason="" if alive else self._exit_reason(record),
        )

    def _completed(self, record: ProcessRecord) -> ProcessRecord:
        """A record without a pid is of a start that the agent did not live to finish."""
        if record.pid or record.host_boot_id != self._boot:
            return record
        pid = find_leader(record.lease_id)
        if pid is None:
            return record
        found = msgspec.structs.replace(record, pid=pid, start_ticks=start_ticks(pid) or 0)
        self._write(found)
        return found

    def _alive(self, record: ProcessRecord) -> bool:
        if record.pid == 0 or record.host_boot_id != self._boot:
            return False
        child = self._children.get(record.lease_id)
        if child is not None and child.pid == record.pid:
            return child.poll() is None
        return start_ticks(record.pid) == record.start_ticks

    def _exit_reason(self, record: ProcessRecord) -> str:
        child = self._children.get(record.lease_id)
        code = child.poll() if child is not None and child.pid == record.pid else None
        if code is None:
            return "The process is gone."
        if code < 0:
            return f"The process was ended by {signal.Signals(-code).name}."
        return f"The process ended with exit code {code}."

    async def _until_dead(self, record: ProcessRecord, seconds: float) -> None:
        end_ns = self._clock.monotonic_ns() + int(seconds * NS)
        while self._alive(record) and self._clock.monotonic_ns() < end_ns:
            await self._clock.sleep(POLL_SECONDS)

    async def _kill_rest(self, record: ProcessRecord) -> None:
        """Kill what is left of the group, children that outlived their leader included."""
        end_ns = self._clock.monotonic_ns() + int(KILL_SECONDS_MAX * NS)
        while self._alive(record) or self._members(record):
            for pid in {*self._members(record), *([record.pid] if self._alive(record) else [])}:
                signal_one(pid, signal.SIGKILL)
            if self._clock.monotonic_ns() > end_ns:
                raise StartFailed(f"Process {record.pid} cannot be killed.")
            await self._clock.sleep(POLL_SECONDS)

    def _members(self, record: ProcessRecord) -> list[int]:
        return members(record.lease_id, record.pid) if record.host_boot_id == self._boot else []

    def _records(self) -> list[ProcessRecord]:
        found = (self._record(path.parent.name) for path in self._home.glob("*/work.json"))
        return [record for record in found if record is not None]

    def _record(self, lease_id: str) -> ProcessRecord | None:
        content = read_if_there(self._record_path(lease_id))
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=ProcessRecord)
        except msgspec.MsgspecError:
            log.error("work_record_damaged", lease_id=lease_id)
            return None

    def _write(self, record: ProcessRecord) -> None:
        write_private(self._record_path(record.lease_id), msgspec.json.encode(record))

    def _record_path(self, lease_id: str) -> Path:
        return self._home / lease_id / "work.json"

    def _scratch(self, lease_id: str) -> Path:
        return self._home / lease_id / "scratch"
