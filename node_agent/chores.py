"""What the agent's program does beside being the agent: one thing, told to a person, then it ends.

Each returns the exit code. 0 is done; 4 says that all was done here but the brain was not told.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack

import msgspec

from kernel.clock import SystemClock
from kernel.errors import BadInput, Conflict, GanglionError
from node_agent import daemon
from node_agent.agent import Agent, Parts, Self
from node_agent.host import boot_id, read_host
from node_agent.identity import Home
from node_agent.link import brain_client
from node_agent.logs import LogShelf
from node_agent.probe import Probe
from node_agent.rotation import rotate
from node_agent.settings import Settings
from node_agent.state import StateFile

BRAIN_NOT_TOLD = 4
ASKED_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.5


async def look_once(settings: Settings) -> int:
    """Print what a beat would tell, without a brain."""
    gpus = daemon.make_gpus(settings, None)
    try:
        view = await gpus.read()
    finally:
        await gpus.close()
    settings.agent_home.mkdir(parents=True, exist_ok=True, mode=0o700)
    host = read_host(
        settings.agent_home,
        engine=settings.agent_engine.value,
        engine_version=None,
        driver_version=view.driver_version,
    )
    _print(
        {
            "agent_version": daemon.version(settings.agent_file),
            "host_boot_id": boot_id(),
            "nvml": view.state,
            "reason": view.reason,
            "gpus": [msgspec.structs.asdict(gpu) for gpu in view.gpus],
            "host": host,
        }
    )
    return 0


async def enrol(settings: Settings) -> int:
    """Become a node; on a host that is one, say which. Prints the node's id."""
    home = Home(settings.agent_home.absolute())
    known = home.identity() if home.path.is_dir() else None
    if known is not None and known.brain_url.rstrip("/") != settings.brain_url.rstrip("/"):
        raise Conflict(
            f"This host is a node of the brain at {known.brain_url}. Uninstall it there first."
        )
    if known is None:
        home.open()
        async with AsyncExitStack() as stack:
            gpus = daemon.make_gpus(settings, home.key())
            stack.push_async_callback(gpus.close)
            client = brain_client(settings.brain_url)
            stack.push_async_callback(client.aclose)
            known = await daemon.join(settings, home, client, gpus)
    _print({"node_id": known.node_id, "installation_id": known.installation_id})
    return 0


async def rotate_key(settings: Settings) -> int:
    """A new key, by the agent where one runs, else here. Prints the new public key."""
    home = Home(settings.agent_home.absolute())
    identity = home.identity()
    if identity is None:
        raise BadInput("This host is not a node yet; there is no key to replace.")
    try:
        home.open()
    except Conflict:
        await _ask_the_agent(home)
    else:
        client = brain_client(settings.brain_url)
        try:
            await rotate(home, daemon.brain_link(settings, client, home, identity))
        finally:
            await client.aclose()
    _print({"node_id": identity.node_id, "public_key": home.key().public_hex})
    return 0


async def leave(settings: Settings) -> int:
    """End all work of this node, tell the brain, and have the node revoked."""
    home = Home(settings.agent_home.absolute())
    identity = home.identity()
    if identity is None:
        _print({"node_id": None})
        return 0
    home.open()
    async with AsyncExitStack() as stack:
        gpus, probe = daemon.make_gpus(settings, home.key()), Probe()
        client, engine = brain_client(settings.brain_url), daemon.make_engine(settings, home)
        for close in (gpus.close, probe.close, client.aclose, engine.close):
            stack.push_async_callback(close)
        link = daemon.brain_link(settings, client, home, identity)
        clock = SystemClock()
        parts = Parts(
            *(link, engine, gpus, probe, LogShelf(home.work, clock)),
            *(StateFile(home.state_file), clock, daemon.boot_ns),
        )
        me = Self(identity, boot_id(), home.path, daemon.version(settings.agent_file))
        agent = Agent(parts, me)
        await agent.stop_work()
        await agent.close()
        try:
            answer = await link.leave("the agent was uninstalled")
        except GanglionError as error:
            _print({"node_id": identity.node_id, "revoked": False})
            sys.stderr.write(f"{error.detail}\n")
            return BRAIN_NOT_TOLD
    _print({"node_id": identity.node_id, "revoked": True, "leases_ending": answer.leases_ending})
    return 0


async def _ask_the_agent(home: Home) -> None:
    clock = SystemClock()
    home.ask_rotation(True)
    try:
        async with asyncio.timeout(ASKED_SECONDS_MAX):
            while home.rotation_asked():
                await clock.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise Conflict(
            "The running agent has not changed its key within a minute; its log says why. It goes"
            " on trying."
        ) from None


def _print(shown: object) -> None:
    content = msgspec.json.format(msgspec.json.encode(shown), indent=2)
    sys.stdout.write(f"{content.decode()}\n")


CHORES: Mapping[str, Callable[[Settings], Coroutine[None, None, int]]] = {
    "once": look_once,
    "enrol": enrol,
    "rotate": rotate_key,
    "leave": leave,
}
