"""The digest of a whole snapshot, so that a gateway finds out what it missed."""

from __future__ import annotations

import hashlib

from kernel.wire import encode
from kernel.wire.gateway import Snapshot


def snapshot_digest(snapshot: Snapshot) -> str:
    """Hex sha256 over all rows in id order; row order in the snapshot does not matter."""
    seen = hashlib.sha256()
    for row in (
        *sorted(snapshot.keys, key=lambda k: k.key_id),
        *sorted(snapshot.accounts, key=lambda a: a.account_id),
        *sorted(snapshot.deployments, key=lambda d: d.deployment_id),
        *sorted(snapshot.replicas, key=lambda r: r.replica_id),
        *sorted(snapshot.pods, key=lambda p: p.pod_id),
    ):
        seen.update(encode(row))
        seen.update(b"\n")
    return seen.hexdigest()
