"""Puts the agent together: settings in, hands behind their Protocols, signals to a clean stop.

It ends with 0 when it was told to stop, and with 75 when its launcher should start the version
that was laid ready.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import httpx
import structlog

from kernel.clock import SystemClock
from kernel.errors import GanglionError
from kernel.hosts import is_local
from node_agent import enroll
from node_agent.agent import Agent, Parts, Self
from node_agent.checks.parts import make_checks
from node_agent.engine import Engine
from node_agent.extras import Extra
from node_agent.gpu import Gpus, SimulatedGpus
from node_agent.gpu_xids import XidBook
from node_agent.hands import make_hands
from node_agent.host import HostMeter, boot_id, read_host
from node_agent.identity import Home, Identity, NodeKey
from node_agent.link import BrainLink, brain_client
from node_agent.links import Links
from node_agent.logs import LogShelf
from node_agent.minutes import Minutes, Signer
from node_agent.probe import Probe
from node_agent.rotation import Rotation
from node_agent.settings import EngineKind, Settings, read
from node_agent.shell import Shells
from node_agent.state import StateFile
from node_agent.telemetry import Telemetry
from node_agent.update import Updates
from node_agent.versions import Root

log = structlog.get_logger(__name__)
T = TypeVar("T")
END_LOOK_SECONDS = 1.0
UPDATED = 75
CHORE_WORDS = {
    "once": "print what the agent sees, and exit",
    "enrol": "become a node with JOIN_TOKEN if it is none yet, and exit",
    "rotate": "give the node a new key, and exit",
    "leave": "end this node's work, revoke it at the brain, and exit",
}


def serve(arguments: list[str]) -> int:
    """Runs the agent until SIGTERM or SIGINT; 0 after a clean stop, 1 with one clear sentence."""
    write_json_logs()
    try:
        settings, chore = read_settings(arguments)
        if chore:
            from node_agent.chores import CHORES

            return asyncio.run(CHORES[chore](settings))
        return UPDATED if asyncio.run(run(settings)) else 0
    except GanglionError as error:
        print(error.detail, file=sys.stderr)  # noqa: T201  the last word to a person
        return 1
    except Exception:
        log.exception("agent_failed")  # work goes on, and the next agent adopts it
        return 1


def read_settings(arguments: list[str]) -> tuple[Settings, str]:
    """Settings from the environment and the command line, and the chore in the agent's place.

    ``BadInput`` names the setting that is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="ganglion agent", description="Offers this machine's GPUs."
    )
    parser.add_argument("--brain-url", help="the brain's address (BRAIN_URL)")
    parser.add_argument("--home", dest="agent_home", help="its folder (AGENT_HOME)")
    parser.add_argument("--name", dest="agent_name", help="the node's name (AGENT_NAME)")
    parser.add_argument("--join-token", help="one use, to become a node (JOIN_TOKEN)")
    parser.add_argument("--simulate-gpus", metavar="N", help="N GPUs that do not exist")
    parser.add_argument(
        "--engine", dest="agent_engine", choices=[kind.value for kind in EngineKind]
    )
    for chore, words in CHORE_WORDS.items():
        parser.add_argument(
            f"--{chore}", dest="chore", action="store_const", const=chore, help=words
        )
    given = vars(parser.parse_args(arguments))
    chore = given.pop("chore") or ""
    chosen = {name: value for name, value in given.items() if value is not None}
    return read(os.environ, chosen), chore


async def run(settings: Settings) -> bool:
    """Join if needed, then be the agent until told to stop. True: a new version is laid ready."""
    home = Home(settings.agent_home.absolute())
    home.open()
    key = home.key()
    gpus = make_gpus(settings, key)
    probe = Probe()
    client = brain_client(settings.brain_url)
    if settings.brain_url.startswith("http:") and not is_local(settings.brain_url):
        log.warning("brain_without_tls", brain=settings.brain_url)
    stop = _stop_signals()
    try:
        async with contextlib.AsyncExitStack() as stack:
            for part in (gpus.close, probe.close, client.aclose):
                stack.push_async_callback(part)
            joining = asyncio.create_task(join(settings, home, client, gpus))
            identity = await _unless(stop, joining)
            if identity is None:
                return False
            hands = make_hands(settings, home, SystemClock())
            stack.push_async_callback(hands.engine.close)
            await hands.open()
            link = brain_link(settings, client, home, identity)
            clock = SystemClock()
            shelf = LogShelf(home.work, clock)
            store = StateFile(home.state_file)
            telemetry = Telemetry(gpus, HostMeter(boot_ns, docker_root(settings)), clock)
            updated = asyncio.Event()
            shells = Shells(hands.engine, clock, installation_id=identity.installation_id)
            links = Links(clock, boot_ns, shell=shells.serve_shell, memory=home.gateways_file)
            checks, preflight = make_checks(home, hands, client, identity, clock, boot_ns)
            extras: tuple[Extra, ...] = (
                telemetry,
                checks,
                preflight,
                links,
                Minutes(
                    home.minutes_file,
                    host_boot_id=boot_id(),
                    signer=Signer(identity.node_id, link.sign),
                    ship=link.minutes,
                    clock=clock,
                    boot_ns=boot_ns,
                ),
                *hands.extras,
                *upkeep(settings, home, client, link, clock, stop=stop, updated=updated),
            )
            parts = Parts(
                *(link, hands.engine, telemetry, probe, shelf, store, clock, boot_ns),
                extras=extras,
                onlookers=(links, checks),
                kept=hands.kept,
            )
            me = Self(identity, boot_id(), home.path, version(settings.agent_file))
            agent = Agent(parts, me)
            checks.ring = links.ask_for_beat = agent.beat_soon
            await _serve(agent, settings, stop, updated)
            return updated.is_set()
    finally:
        log.info("agent_stopped")


def brain_link(
    settings: Settings, client: httpx.AsyncClient, home: Home, identity: Identity
) -> BrainLink:
    """The node's way to the brain, with the key of a rotation that was broken off, if any."""
    return BrainLink(
        client,
        identity=identity,
        key=home.key(),
        host_boot_id=boot_id(),
        agent_version=version(settings.agent_file),
        boot_ns=boot_ns,
        spare=home.spare_key(),
        on_spare=home.promote_spare_key,
    )


def upkeep(
    settings: Settings,
    home: Home,
    client: httpx.AsyncClient,
    link: BrainLink,
    clock: SystemClock,
    *,
    stop: asyncio.Event,
    updated: asyncio.Event,
) -> tuple[Extra, ...]:
    """What keeps the agent itself in order. A rented machine is too short-lived for it."""
    if settings.agent_one_lease:
        return ()
    rotation = Rotation(home, link, clock, days=settings.agent_key_days)
    if settings.agent_root is None or not settings.agent_file:
        return (rotation,)

    def ready() -> None:
        updated.set()
        stop.set()

    root = Root(settings.agent_root)
    return (rotation, Updates(client, root, settings.agent_file, clock, on_ready=ready))


async def _serve(
    agent: Agent, settings: Settings, stop: asyncio.Event, updated: asyncio.Event
) -> None:
    log.info("agent_ready", engine=settings.agent_engine.value, brain=settings.brain_url)
    running = asyncio.create_task(agent.run())
    watching = asyncio.create_task(_end_with_lease(agent, settings, stop))
    await _unless(stop, running)
    watching.cancel()
    if settings.agent_stop_work_on_exit and not updated.is_set():
        await agent.stop_work()
    await agent.close()


async def _end_with_lease(agent: Agent, settings: Settings, stop: asyncio.Event) -> None:
    """A machine that was rented for one lease: its agent stops itself when that is over."""
    clock = SystemClock()
    while settings.agent_one_lease:
        why = agent.over(settings.agent_away_seconds_max)
        if why:
            log.info("one_lease_over", reason=why)
            stop.set()
            return
        await clock.sleep(END_LOOK_SECONDS)


async def join(settings: Settings, home: Home, client: httpx.AsyncClient, gpus: Gpus) -> Identity:
    view = await gpus.read()
    host = read_host(
        home.path,
        engine=settings.agent_engine.value,
        engine_version=None,
        driver_version=view.driver_version,
    )
    return await enroll.join(
        home,
        client,
        brain_url=settings.brain_url,
        token=settings.join_token,
        host=host,
        gpus=view.gpus,
        agent_version=version(settings.agent_file),
        name=settings.agent_name,
        clock=SystemClock(),
    )


async def _unless(stop: asyncio.Event, task: asyncio.Task[T]) -> T | None:
    """The task's result, or None when it was cancelled because the agent is to stop."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((stopping, task), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait((task,), timeout=10.0)
        return None
    finally:
        stopping.cancel()


def make_gpus(settings: Settings, key: NodeKey | None) -> Gpus:
    if settings.simulate_gpus:
        seed = key.public_hex if key is not None else "no node yet"
        return SimulatedGpus(settings.simulate_gpus, seed=seed, boot_ns=boot_ns)
    from node_agent.gpu_nvml import NvmlGpus

    kept = None if key is None else settings.agent_home.absolute() / "xids.json"
    return NvmlGpus(
        boot_ns=boot_ns, seconds_max=settings.nvml_seconds_max, xids=XidBook(kept, boot_id())
    )


def docker_root(settings: Settings) -> Path | None:
    return settings.docker_root if settings.agent_engine is EngineKind.DOCKER else None


def make_engine(settings: Settings, home: Home) -> Engine:
    """The hand that the settings name."""
    return make_hands(settings, home, SystemClock()).engine


def boot_ns() -> int:
    """The host's boot clock: it counts while the machine sleeps and outlives this process."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def version(agent_file: str) -> str:
    """As the brain is told it: with the start of the SHA-256 of the file that it runs from."""
    try:
        number = metadata.version("ganglion")
    except metadata.PackageNotFoundError:
        number = "0.1.0"
    return f"{number}+{agent_file[:12]}" if agent_file else number


def write_json_logs() -> None:
    """One JSON line an event, on stderr."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
