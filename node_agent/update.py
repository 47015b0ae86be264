"""The agent's own updates: fetched from the brain, proved, laid ready, taken up by the launcher.

The brain's answer to a beat, which only the brain can give, names the file by its SHA-256; what
is fetched under that name is run only when it has it. The launcher (``node_agent.launcher``)
makes the switch and takes it back when the new version is not heard.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import structlog

from kernel.clock import Clock
from kernel.wire.agent import Beat, BeatAnswer, LeaseSeenState
from node_agent.versions import Root, write

log = structlog.get_logger(__name__)
FILE_BYTES_MAX = 128 << 20
FETCH_SECONDS_MAX = 300.0
UNPACK_SECONDS_MAX = 180.0
LOOK_SECONDS = 1.0
RETRY_SECONDS = 60.0
BUSY = frozenset({LeaseSeenState.STARTING, LeaseSeenState.STOPPING})
REASON_CHARS_MAX = 300


class UpdateRefused(Exception):
    """This update is not taken up now; the words say why."""


class Updates:
    """An ``Extra``. ``on_ready`` is called once, when the agent should end for its launcher."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        root: Root,
        own: str,
        clock: Clock,
        *,
        on_ready: Callable[[], None],
    ) -> None:
        self._client = client
        self._root = root
        self._own = own
        self._clock = clock
        self._on_ready = on_ready
        self._wanted = ""
        self._busy = True
        self._failed, self._reason = "", ""

    def tell(self, beat: Beat) -> None:
        self._busy = any(line.state in BUSY for line in beat.leases)
        beat.agent_file = self._own
        beat.update_failed = self._failed
        beat.update_reason = self._reason[:REASON_CHARS_MAX]

    def hear(self, answer: BeatAnswer, sent_ns: int) -> None:
        self._wanted = answer.update_to or ""

    async def run(self) -> None:
        """Look each second for a wish of the brain; a failed one is tried again later."""
        self._remember_bad()
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            wanted = self._wanted
            if not wanted or wanted == self._own or self._is_bad(wanted):
                continue
            try:
                await self.take_up(wanted)
                return
            except (UpdateRefused, httpx.HTTPError, OSError) as fault:
                reason = str(fault) or type(fault).__name__
                log.warning("update_failed", file=wanted[:12], reason=reason)
                self._failed, self._reason = wanted, reason
                self._wanted = ""
                await self._clock.sleep(RETRY_SECONDS)

    async def take_up(self, wanted: str) -> None:
        """Fetch, prove and unpack this file, wait until no work starts or ends, and say so."""
        log.info("update_began", file=wanted[:12])
        staging = self._root.path / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        file = staging / f"{wanted}.pyz"
        try:
            async with asyncio.timeout(FETCH_SECONDS_MAX):
                await self._fetch(file, wanted)
            await self._unpack(file, wanted)
        except TimeoutError:
            raise UpdateRefused("The new version was not here in time.") from None
        finally:
            file.unlink(missing_ok=True)
        while self._busy:
            await self._clock.sleep(LOOK_SECONDS)
        write(self._root.path / "next", wanted)
        log.info("update_ready", file=wanted[:12])
        self._on_ready()

    async def _fetch(self, file: Path, wanted: str) -> None:
        digest, size = hashlib.sha256(), 0
        with file.open("wb") as draft:
            async with self._client.stream("GET", "/agent/file") as answer:
                answer.raise_for_status()
                async for chunk in answer.aiter_raw(1 << 16):
                    size += len(chunk)
                    if size > FILE_BYTES_MAX:
                        raise UpdateRefused("The brain's file is larger than an agent can be.")
                    digest.update(chunk)
                    draft.write(chunk)
        if digest.hexdigest() != wanted:
            raise UpdateRefused("The brain's file is not the one that it named (SHA-256 differs).")

    async def _unpack(self, file: Path, wanted: str) -> None:
        """By the file's own code, so that a later one may be packed in another way."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(file), "unpack", str(self._root.path), wanted),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(UNPACK_SECONDS_MAX):
                _, said = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
        if child.returncode:
            lines = said.decode(errors="replace").strip().splitlines()
            raise UpdateRefused(lines[-1] if lines else "The new version could not be unpacked.")

    def _is_bad(self, wanted: str) -> bool:
        why = self._root.bad().get(wanted)
        if why is not None:
            self._failed, self._reason = wanted, why
        return why is not None

    def _remember_bad(self) -> None:
        """What the launcher took back is told to the brain, which asks no more for it."""
        for sha256, why in self._root.bad().items():
            self._failed, self._reason = sha256, why
