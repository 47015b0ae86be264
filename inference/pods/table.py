"""What the front knows of pods, by the brain's pushed changes; and who waits for a run's end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kernel.wire.digest import snapshot_digest
from kernel.wire.gateway import ChangeLine, PodRow, PodState, Snapshot

Ended = Callable[[str], None]  # told why, in words for people


@dataclass(frozen=True, slots=True)
class Run:
    """One lease of a pod: a link that was opened for it serves it and no other."""

    pod_id: str
    lease_id: str
    epoch: int


def run_of(row: PodRow) -> Run | None:
    """The row's present run; ``None`` while the pod cannot be reached."""
    if row.state is not PodState.RUNNING or not row.lease_id:
        return None
    return Run(row.pod_id, row.lease_id, row.epoch)


class Pods:
    """Rows by id and by slug. A row whose epoch is older than one seen for its lease is ignored."""

    def __init__(self) -> None:
        self.loaded = False
        self._rows: dict[str, PodRow] = {}
        self._slugs: dict[str, str] = {}
        self._epochs: dict[str, tuple[str, int]] = {}
        self._watchers: dict[Run, dict[object, Ended]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def by_slug(self, slug: str) -> PodRow | None:
        return self._rows.get(self._slugs.get(slug, ""))

    def by_user(self, user: str) -> PodRow | None:
        """By slug or by id, as people write it before the ``@``."""
        return self.by_slug(user) or self._rows.get(user)

    def by_id(self, pod_id: str) -> PodRow | None:
        return self._rows.get(pod_id)

    def runs(self) -> dict[Run, PodRow]:
        """The present run of every pod that has one."""
        return {run: row for row in self._rows.values() if (run := run_of(row)) is not None}

    def watch(self, run: Run, ended: Ended) -> Callable[[], None]:
        """Have ``ended`` called once when this run is over; call the answer to watch no more."""
        watchers, name = self._watchers.setdefault(run, {}), object()
        watchers[name] = ended

        def leave() -> None:
            watchers.pop(name, None)
            if not watchers and self._watchers.get(run) is watchers:
                del self._watchers[run]

        return leave

    def apply(self, line: ChangeLine) -> None:
        """Take one line of the brain's; naming what is not there is no error."""
        if line.snapshot is not None:
            self._replace(line.snapshot)
        if line.pod is not None:
            self._put(line.pod)
        if line.drop_pod is not None:
            self._drop(line.drop_pod)

    def digest(self) -> str:
        return snapshot_digest(Snapshot(pods=list(self._rows.values())))

    def _replace(self, snapshot: Snapshot) -> None:
        for pod_id in self._rows.keys() - {row.pod_id for row in snapshot.pods}:
            self._drop(pod_id)
        for row in snapshot.pods:
            self._put(row)
        self.loaded = True

    def _put(self, row: PodRow) -> None:
        lease, epoch = self._epochs.get(row.pod_id, ("", 0))
        if row.lease_id and row.lease_id == lease and row.epoch < epoch:
            return
        if row.lease_id:
            self._epochs[row.pod_id] = (row.lease_id, row.epoch)
        before = self._rows.get(row.pod_id)
        if before is not None and self._slugs.get(before.slug) == row.pod_id:
            del self._slugs[before.slug]
        self._rows[row.pod_id] = row
        self._slugs[row.slug] = row.pod_id
        if before is not None and (run := run_of(before)) is not None and run_of(row) != run:
            self._end(run, _why(row))

    def _drop(self, pod_id: str) -> None:
        row = self._rows.pop(pod_id, None)
        self._epochs.pop(pod_id, None)
        if row is None:
            return
        if self._slugs.get(row.slug) == pod_id:
            del self._slugs[row.slug]
        if (run := run_of(row)) is not None:
            self._end(run, "The pod was terminated.")

    def _end(self, run: Run, why: str) -> None:
        for ended in list(self._watchers.pop(run, {}).values()):
            ended(why)


def _why(row: PodRow) -> str:
    if run_of(row) is not None:
        return "The pod has moved to another machine; connect again."
    return f"The pod has stopped{': ' + row.reason if row.reason else '.'}"
