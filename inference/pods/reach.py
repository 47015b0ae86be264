"""How the front gets a raw link to a pod: the seam between it and the listener of links."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from inference.pods.table import Run, run_of
from kernel.clock import NS
from kernel.errors import GanglionError, NotFound, Unavailable, UpstreamFailed, UpstreamTimeout
from kernel.wire.gateway import PodRow

SILENT = "The machine of this pod does not answer; try again."
REFUSED = "Nothing takes connections at this port of the pod now; try again when its server runs."


class Reaches(Protocol):
    """Opens raw links of leases."""

    async def open(
        self, lease_id: str, epoch: int, port: int | str, deadline_s: float
    ) -> asyncio.Transport:
        """A raw link to that port: give it a protocol at once, then look at ``is_closing``.

        Raises ``GanglionError`` when the node refuses, or none came in time.
        """
        ...


def running(row: PodRow) -> Run:
    """The pod's present run. Raises ``Unavailable`` with why there is none."""
    run = run_of(row)
    if run is None:
        reason = f" {row.reason}" if row.reason else ""
        raise Unavailable(
            f"This pod is not running.{reason}", code="pod_not_running", retry_after=5
        )
    return run


def check_port(row: PodRow, port: int) -> None:
    """Raises ``NotFound`` where the pod has not opened this port."""
    if port not in row.ports:
        raise NotFound(
            f"This pod has not opened port {port}. Ports are named when a pod is created.",
            code="port_not_open",
        )


async def open_link(
    links: Reaches, run: Run, port: int | str, *, seconds_max: float, now_ns: Callable[[], int]
) -> asyncio.Transport:
    """A raw link, or what people are told when none came: none of the node's own words.

    Raises ``UpstreamTimeout`` when it took all of ``seconds_max``, else ``UpstreamFailed``.
    """
    began_ns = now_ns()
    try:
        async with asyncio.timeout(seconds_max + 1):
            return await links.open(run.lease_id, run.epoch, port, seconds_max)
    except TimeoutError:
        raise UpstreamTimeout(SILENT, code="pod_silent") from None
    except GanglionError as error:
        why = error.internal or error.detail
        if now_ns() - began_ns >= seconds_max * NS:
            raise UpstreamTimeout(SILENT, code="pod_silent", internal=why) from None
        raise UpstreamFailed(REFUSED, code="pod_unreachable", internal=why) from None
