"""Which XIDs each GPU had since its driver was loaded; kept over a restart of the agent.

NVML tells an XID once, to whoever listens. What came while no reader ran is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from kernel.wire.agent import XIDS_MAX, GpuReading
from node_agent.files import read_if_there, write_private

log = structlog.get_logger(__name__)


class _Page(Struct):
    """One GPU. ``energy_mj`` only rises while its driver stays loaded."""

    energy_mj: int = 0
    xids: dict[int, int] = {}
    last: int | None = None


class _Book(Struct):
    host_boot_id: str
    pages: dict[str, _Page] = {}


class XidBook:
    """Counts by GPU and number. A new boot of the host, or an energy counter that begins anew
    (the driver was loaded again), empties a page: what was wrong was reset with it."""

    def __init__(self, path: Path | None = None, host_boot_id: str = "") -> None:
        self._path = path
        self._book = _load(path, host_boot_id)

    def mark(
        self, gpus: Sequence[GpuReading], news: Mapping[str, Iterable[int]]
    ) -> list[GpuReading]:
        """The readings with what is known of each; the book is saved when it changed."""
        changed = False
        marked = []
        for gpu in gpus:
            page = self._book.pages.setdefault(gpu.uuid, _Page())
            changed |= _renew(page, gpu)
            changed |= _note(page, news.get(gpu.uuid, ()))
            marked.append(replace(gpu, xids=dict(page.xids), xid_last=page.last))
        if changed:
            self._save()
        return marked

    def _save(self) -> None:
        if self._path is None:
            return
        try:
            write_private(self._path, msgspec.json.encode(self._book))
        except OSError as error:  # readings go on; a restart would forget
            log.warning("xids_not_saved", reason=str(error))


def _renew(page: _Page, gpu: GpuReading) -> bool:
    """True when the driver was loaded anew and there was something to forget."""
    if gpu.lost or gpu.energy_mj is None:
        return False
    again, page.energy_mj = gpu.energy_mj < page.energy_mj, gpu.energy_mj
    if not again or not page.xids:
        return False
    page.xids, page.last = {}, None
    return True


def _note(page: _Page, numbers: Iterable[int]) -> bool:
    noted = False
    for number in numbers:
        if number in page.xids or len(page.xids) < XIDS_MAX:
            page.xids[number] = page.xids.get(number, 0) + 1
        page.last = number
        noted = True
    return noted


def _load(path: Path | None, host_boot_id: str) -> _Book:
    content = None if path is None else read_if_there(path)
    fresh = _Book(host_boot_id)
    if content is None:
        return fresh
    try:
        book = msgspec.json.decode(content, type=_Book)
    except msgspec.MsgspecError as error:
        log.warning("xids_damaged", reason=str(error))
        return fresh
    return book if book.host_boot_id == host_boot_id else fresh
