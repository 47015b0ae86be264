"""What the gateway knows: keys, accounts, deployments and replicas, in memory, by pushed changes.

Rows are kept as they came (for the digest); beside them stand the indexes that a request reads.
Rows may come in any order. A replica's row with an older epoch than one seen is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from inference.route import Replica
from inference.slices import Purse
from kernel.errors import BadInput
from kernel.wire.digest import snapshot_digest
from kernel.wire.gateway import (
    LOOPBACK,
    REVERSE,
    AccountRow,
    ChangeLine,
    DeploymentRow,
    KeyRow,
    LinkRow,
    ReplicaRow,
    Snapshot,
)

LinksT = TypeVar("LinksT")
# Replicas that are gone and whose epoch is still known. What is told of one that went before so
# many others is old by days; and the key of its links was of its lease and epoch alone.
GONE_MAX = 50_000


class Account:
    __slots__ = ("purse", "row")

    def __init__(self, row: AccountRow) -> None:
        self.row = row
        self.purse = Purse()

    @property
    def salt(self) -> str:
        """Keeps its prefix caches apart on workers that others share."""
        return self.row.cache_salt or self.row.account_id


class Deployment(Generic[LinksT]):
    """A deployment and its replicas. ``card`` is what ``card_of`` said of itself in /v1/models."""

    __slots__ = ("card", "card_of", "replicas", "row")

    def __init__(self, row: DeploymentRow) -> None:
        self.row = row
        self.replicas: list[Replica[LinksT]] = []
        self.card: dict[str, object] | None = None
        self.card_of: Replica[LinksT] | None = None


class Tables(Generic[LinksT]):
    """``make_links`` gives whatever reaches a replica; ``retire`` ends that when the replica
    goes, and is told whether a higher epoch takes its place."""

    def __init__(
        self,
        make_links: Callable[[ReplicaRow], LinksT],
        retire: Callable[[ReplicaRow, LinksT, bool], None] = lambda row, links, superseded: None,
        *,
        gone_max: int = GONE_MAX,
    ) -> None:
        self._make_links = make_links
        self._retire = retire
        self.keys: dict[str, KeyRow] = {}  # by digest of the secret
        self.accounts: dict[str, Account] = {}
        self.deployments: dict[str, Deployment[LinksT]] = {}
        self.replicas: dict[str, Replica[LinksT]] = {}
        self.owned: dict[tuple[str, str], list[Deployment[LinksT]]] = {}
        self.pool: dict[str, list[Deployment[LinksT]]] = {}
        self._key_digests: dict[str, str] = {}
        self._epochs: dict[str, int] = {}  # the highest seen of each replica
        self._gone: dict[str, None] = {}  # those of them that are not there, in the order they went
        self._gone_max = gone_max
        self.loaded = False
        self.version = 0  # raised by every change

    def replace(self, snapshot: Snapshot) -> None:
        """Take a whole snapshot; live state of rows that stay (counters, links) is kept."""
        for key in snapshot.keys:
            self.put_key(key)
        for account in snapshot.accounts:
            self.put_account(account)
        for deployment in snapshot.deployments:
            self.put_deployment(deployment)
        for replica in snapshot.replicas:
            self.put_replica(replica)
        for key_id in self._key_digests.keys() - {row.key_id for row in snapshot.keys}:
            self.drop_key(key_id)
        for account_id in self.accounts.keys() - {row.account_id for row in snapshot.accounts}:
            self.drop_account(account_id)
        for replica_id in self.replicas.keys() - {row.replica_id for row in snapshot.replicas}:
            self.drop_replica(replica_id)
        known = {row.deployment_id for row in snapshot.deployments}
        for deployment_id in self.deployments.keys() - known:
            self.drop_deployment(deployment_id)
        self.loaded = True

    def apply(self, line: ChangeLine) -> None:
        """Take one change; naming what is not there is no error."""
        self.version += 1
        if line.snapshot is not None:
            self.replace(line.snapshot)
        if line.key is not None:
            self.put_key(line.key)
        if line.account is not None:
            self.put_account(line.account)
        if line.deployment is not None:
            self.put_deployment(line.deployment)
        if line.replica is not None:
            self.put_replica(line.replica)
        if line.drop_key is not None:
            self.drop_key(line.drop_key)
        if line.drop_account is not None:
            self.drop_account(line.drop_account)
        if line.drop_replica is not None:
            self.drop_replica(line.drop_replica)
        if line.drop_deployment is not None:
            self.drop_deployment(line.drop_deployment)

    def rows(self) -> Snapshot:
        """All rows, as the brain would send them."""
        return Snapshot(
            keys=list(self.keys.values()),
            accounts=[account.row for account in self.accounts.values()],
            deployments=[deployment.row for deployment in self.deployments.values()],
            replicas=[replica.row for replica in self.replicas.values()],
        )

    def digest(self) -> str:
        return snapshot_digest(self.rows())

    def put_key(self, row: KeyRow) -> None:
        self.drop_key(row.key_id)
        self._key_digests[row.key_id] = row.digest
        self.keys[row.digest] = row

    def drop_key(self, key_id: str) -> None:
        digest = self._key_digests.pop(key_id, None)
        if digest is not None and self.keys[digest].key_id == key_id:
            del self.keys[digest]

    def put_account(self, row: AccountRow) -> None:
        known = self.accounts.get(row.account_id)
        if known is None:
            self.accounts[row.account_id] = Account(row)
        else:
            known.row = row

    def drop_account(self, account_id: str) -> None:
        self.accounts.pop(account_id, None)

    def put_deployment(self, row: DeploymentRow) -> None:
        known = self.deployments.get(row.deployment_id)
        if known is None:
            known = self.deployments[row.deployment_id] = Deployment(row)
            known.replicas = [
                replica
                for replica in self.replicas.values()
                if replica.row.deployment_id == row.deployment_id
            ]
        else:
            self._unlist(known)
            if known.row.model != row.model:
                known.card = known.card_of = None
            known.row = row
        for replica in known.replicas:
            replica.made_for(row.concurrency)
        for listing in self._listings(row, make=True):
            listing.append(known)

    def drop_deployment(self, deployment_id: str) -> None:
        known = self.deployments.pop(deployment_id, None)
        if known is not None:
            self._unlist(known)

    def put_replica(self, row: ReplicaRow) -> None:
        if row.epoch < self._epochs.get(row.replica_id, 0):
            return
        self._epochs[row.replica_id] = row.epoch
        known = self.replicas.get(row.replica_id)
        if known is not None and _same_worker(known.row, row):
            known.row = row
            return
        if known is not None:
            self.drop_replica(row.replica_id, superseded=row.epoch > known.row.epoch)
        replica = Replica(row=row, links=self._make_links(row))
        self.replicas[row.replica_id] = replica
        self._gone.pop(row.replica_id, None)
        deployment = self.deployments.get(row.deployment_id)
        if deployment is not None:
            replica.made_for(deployment.row.concurrency)
            deployment.replicas.append(replica)

    def drop_replica(self, replica_id: str, *, superseded: bool = False) -> None:
        replica = self.replicas.pop(replica_id, None)
        if replica is None:
            return
        replica.gone, replica.most = True, 0
        self._gone[replica_id] = None
        if len(self._gone) > self._gone_max:
            oldest = next(iter(self._gone))
            del self._gone[oldest], self._epochs[oldest]
        self._retire(replica.row, replica.links, superseded)
        deployment = self.deployments.get(replica.row.deployment_id)
        if deployment is not None:
            deployment.replicas.remove(replica)

    def _unlist(self, deployment: Deployment[LinksT]) -> None:
        for listing in self._listings(deployment.row, make=False):
            listing.remove(deployment)

    def _listings(self, row: DeploymentRow, *, make: bool) -> Iterator[list[Deployment[LinksT]]]:
        """The lists of all names under which clients may find this deployment."""
        for name in dict.fromkeys((row.name, row.deployment_id)):
            owned = (row.account_id, name)
            yield self.owned.setdefault(owned, []) if make else self.owned[owned]
        if row.pool:
            for name in dict.fromkeys((row.model, row.name)):
                yield self.pool.setdefault(name, []) if make else self.pool[name]


def check(snapshot: Snapshot) -> None:
    """Refuse a hand-written snapshot whose rows name each other wrongly; for ``--snapshot``."""
    accounts = {row.account_id for row in snapshot.accounts}
    deployments = {row.deployment_id for row in snapshot.deployments}
    for key in snapshot.keys:
        if key.account_id not in accounts:
            raise BadInput(f"Key {key.key_id} names account {key.account_id}, which is not listed.")
        if len(key.digest) != 64:
            raise BadInput(f"Key {key.key_id}: digest is the hex sha256 of the whole secret.")
    for deployment in snapshot.deployments:
        if not deployment.pool and deployment.account_id not in accounts:
            owner = deployment.account_id
            raise BadInput(
                f"Deployment {deployment.deployment_id} names account {owner}, which is not listed."
            )
    for replica in snapshot.replicas:
        if replica.deployment_id not in deployments:
            raise BadInput(
                f"Replica {replica.replica_id} names deployment {replica.deployment_id},"
                " which is not listed."
            )
        if replica.gpus < 1 or not _reachable(replica.link):
            raise BadInput(
                f"Replica {replica.replica_id} needs gpus >= 1 and a link: with a port, or of kind"
                " reverse with a key of 64 hex digits."
            )


def _reachable(link: LinkRow) -> bool:
    if link.kind == REVERSE:
        return len(link.key) == 64 and not link.key.strip("0123456789abcdef")
    return link.kind == LOOPBACK and 0 < link.port < 65536


def _same_worker(old: ReplicaRow, new: ReplicaRow) -> bool:
    return (
        old.lease_id == new.lease_id
        and old.epoch == new.epoch
        and old.link == new.link
        and old.deployment_id == new.deployment_id
    )
