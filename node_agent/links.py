"""The agent's links: from every lease whose work can be reached to every gateway that runs.

They are the only way to the work on this node, and go outward only. They end with the lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog
from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_random

from kernel.clock import Clock
from kernel.hosts import is_local
from kernel.wire.agent import Beat, BeatAnswer, GatewayAddress
from node_agent import core
from node_agent.bell import Bell
from node_agent.files import read_if_there, write_private
from node_agent.link_dial import Dialler
from node_agent.link_tether import Gear, Shell, Tether, Tie
from node_agent.records import AgentState, Phase, Work

log = structlog.get_logger(__name__)
GATEWAYS_MAX = 64
LOOK_SECONDS = 1.0
# Never at the same time on two nodes: a gateway has links from all of them.
BEATS_AFTER_LOSS = (wait_random(0.5, 1.5), wait_random(1.0, 3.0), wait_random(2.0, 6.0))
POD = "pod"  # the engine of renters' own images


@dataclass
class _Held:
    tether: Tether
    task: asyncio.Task[None]


class Links:
    """An extra of the agent that is also told what runs. ``shell`` serves links to ``exec``."""

    def __init__(
        self,
        clock: Clock,
        boot_ns: Callable[[], int],
        *,
        dialler: Dialler | None = None,
        shell: Shell | None = None,
        memory: Path | None = None,
    ) -> None:
        self._boot_ns = boot_ns
        self._clock = clock
        self._gear = Gear(dialler or Dialler(), clock, boot_ns, shell, self._lost)
        self.ask_for_beat: Callable[[], None] = lambda: None
        self._asking: asyncio.Task[None] | None = None
        self._bell = Bell(clock)
        self._memory = memory
        # By boot id, as of the last beat; of an earlier start's, where the brain is away.
        self._gateways: dict[str, GatewayAddress] = {one.boot_id: one for one in _load(memory)}
        self._kept = self._gateways
        self._ties: dict[str, Tie] = {}
        self._ends_ns: dict[str, int] = {}  # when each lease's time is over
        self._warned: frozenset[str] = frozenset()
        self._alone: frozenset[str] = frozenset()  # leases that no gateway is known for
        self._held: dict[tuple[str, int, str], _Held] = {}

    def tell(self, beat: Beat) -> None:
        """Nothing of links is told in a beat."""

    def hear(self, answer: BeatAnswer, sent_ns: int) -> None:
        """The gateways that the brain names now. None at all is no news: what stands stays."""
        self._gateways = {one.boot_id: one for one in answer.gateways[:GATEWAYS_MAX]}
        if self._memory is not None and self._gateways and self._gateways != self._kept:
            self._kept = self._gateways
            write_private(self._memory, msgspec.json.encode([*self._kept.values()]))
        self._settle()

    def see(self, state: AgentState, works: Sequence[Work]) -> None:
        """What is held and what runs, after each look and each answer of the brain."""
        self._ties = ties_of(state, works)
        self._ends_ns = {key: state.leases[key].deadline_ns for key in self._ties}
        self._settle()

    async def run(self) -> None:
        """Watches over the ends of leases; all links end with it."""
        try:
            while True:
                self._settle()
                await self._bell.wait(LOOK_SECONDS)
        finally:
            for held in self._held.values():
                held.task.cancel()
                held.tether.cut()
            self._held.clear()
            if self._asking is not None:
                self._asking.cancel()

    def _settle(self) -> None:
        """Cut what is over, begin what is new."""
        now_ns = self._boot_ns()
        live = {key: tie for key, tie in self._ties.items() if now_ns < self._ends_ns[key]}
        for name, held in list(self._held.items()):
            tie = live.get(name[0])
            if tie is None or tie.epoch != name[1] or held.task.done():
                held.task.cancel()
                held.tether.cut()
                del self._held[name]
            else:
                held.tether.tie = tie
                held.tether.listed = name[2] in self._gateways
        self._look_for_alone(live)
        for tie in live.values():
            for gateway in self._gateways.values():
                name = (tie.lease_id, tie.epoch, gateway.boot_id)
                if gateway.pods == tie.pod and name not in self._held:
                    self._warn_of_plain(gateway)
                    tether = Tether(self._gear, tie, gateway.boot_id, gateway.url)
                    task = asyncio.get_running_loop().create_task(tether.run())
                    task.add_done_callback(self._ended)
                    self._held[name] = _Held(tether, task)

    def _look_for_alone(self, live: Mapping[str, Tie]) -> None:
        """Work that no gateway is known for: one may have started beside it."""
        kinds = {gateway.pods for gateway in self._gateways.values()}
        alone = frozenset(tie.lease_id for tie in live.values() if tie.pod not in kinds)
        if alone - self._alone:
            self._lost()
        self._alone = alone

    def _lost(self) -> None:
        """A gateway may have been started just now: the next beats, which say so, come soon."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask_for_beats())

    async def _ask_for_beats(self) -> None:
        for wait in BEATS_AFTER_LOSS:
            await self._clock.sleep(float(wait(RetryCallState(Retrying(), None, (), {}))))
            self.ask_for_beat()

    def _warn_of_plain(self, gateway: GatewayAddress) -> None:
        plain = gateway.url.startswith("http:") and not is_local(gateway.url)
        if plain and gateway.boot_id not in self._warned:
            self._warned = (self._warned | {gateway.boot_id}) & {*self._gateways}
            log.warning("gateway_without_tls", gateway=gateway.url)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("links_failed", exc_info=task.exception())
        self._bell.ring()


def _load(memory: Path | None) -> list[GatewayAddress]:
    """What an earlier start was told last; a file that is damaged is no more than a hint lost."""
    content = None if memory is None else read_if_there(memory)
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(content or b"[]", type=list[GatewayAddress])[:GATEWAYS_MAX]
    return []


def ties_of(state: AgentState, works: Sequence[Work]) -> dict[str, Tie]:
    """The leases that may be reached: they may run, their work runs and was ready once."""
    found: dict[str, Tie] = {}
    runs: Mapping[str, Work] = {w.lease_id: w for w in works if w.phase is Phase.RUNNING}
    for lease_id, held in state.leases.items():
        work, lease = runs.get(lease_id), held.lease
        if work is None or not core.may_run(held) or work.epoch != lease.epoch:
            continue
        if lease.launch.health_path and held.ready_ref != work.ref:
            continue
        if not lease.link_key:
            continue
        found[lease_id] = Tie(
            lease_id,
            lease.epoch,
            bytes.fromhex(lease.link_key),
            work.port if lease.launch.port else 0,
            dict(work.ports),
            lease.launch.shell,
            lease.launch.engine == POD,
        )
    return found
