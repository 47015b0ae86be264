"""Keeps the table of pods true by the brain's stream of changes, and tells the listener of links
which leases may come.

The front does not say hello: that makes a process one whose counted usage is waited for.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from inference.brain import Brain
from inference.changes import Patience
from inference.pods.front import Front
from inference.pods.table import Run
from kernel.errors import GanglionError

WANT = "pods"


class Expects(Protocol):
    """The listener's part that is told of leases."""

    @property
    def url(self) -> str: ...

    def expect(self, lease_id: str, epoch: int, key: str) -> object: ...

    def forget(self, lease_id: str, epoch: int) -> None: ...


class Log(Protocol):
    def info(self, event: str, **facts: object) -> None: ...
    def warning(self, event: str, **facts: object) -> None: ...


class Follower:
    """``run`` reads for ever; when the stream ends, or the copies differ, it asks anew."""

    def __init__(self, front: Front, brain: Brain, links: Expects, boot_id: str) -> None:
        self._front = front
        self._brain = brain
        self._links = links
        self._boot_id = boot_id
        self._expected: set[Run] = set()
        self._log: Log = structlog.get_logger("inference.pods")

    async def run(self) -> None:
        patience = Patience(local=self._brain.is_local)
        while True:
            try:
                async for line in self._brain.changes(self._boot_id, self._links.url, WANT):
                    patience.heard()
                    if line.digest is not None and line.digest != self._front.pods.digest():
                        self._log.warning("pods_differ")
                        break
                    self._front.heard()
                    self._front.pods.apply(line)
                    self.expect()
            except GanglionError as error:
                if patience.tells():
                    self._log.warning("brain_lost", reason=error.internal)
            self._front.connected = False
            await self._front.clock.sleep(patience.pause())

    def expect(self) -> None:
        """Take links of the pods that run now, and of no others."""
        runs = self._front.pods.runs()
        for run in self._expected - runs.keys():
            self._links.forget(run.lease_id, run.epoch)
            self._expected.discard(run)
        for run, row in runs.items():
            if run in self._expected or not row.link.key:
                continue
            try:
                self._links.expect(run.lease_id, run.epoch, row.link.key)
                self._expected.add(run)
            except GanglionError as error:
                self._log.warning("pod_without_links", pod=run.pod_id, reason=error.detail)
