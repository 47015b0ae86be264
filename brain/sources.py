"""Where the rows come from that gateways and fronts of pods keep a copy of."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from brain import billing, deployments, fleet, identity, pods, spending
from brain.deployments import Functions, Source
from brain.plumbing import Tx
from kernel.ids import AccountId, KeyId
from kernel.wire.gateway import REVERSE, AccountRow, KeyRow, LinkRow, PodRow, ReplicaRow


@dataclass(frozen=True)
class AccountSource:
    """Accounts as gateways know them: billing's flag, the limits, a cache salt of its own."""

    secret: bytes
    limits: Limits

    async def one(self, tx: Tx, entity_id: str) -> AccountRow:
        return self._salted(await billing.account_row(tx, AccountId(entity_id)))

    async def all(self, tx: Tx) -> Sequence[AccountRow]:
        found = {row.account_id: row for row in await billing.all_account_rows(tx)}
        for key in await identity.all_key_rows(tx):
            found.setdefault(key.account_id, AccountRow(account_id=key.account_id))
        return [self._salted(row) for row in found.values()]

    def _salted(self, row: AccountRow) -> AccountRow:
        salt = hmac.new(self.secret, f"cache-salt {row.account_id}".encode(), hashlib.sha256)
        return msgspec.structs.replace(
            row,
            cache_salt=salt.hexdigest()[:32],
            requests_per_minute=self.limits.requests_per_minute,
            tokens_per_minute=self.limits.tokens_per_minute,
            requests_at_once=self.limits.requests_at_once,
        )


@dataclass(frozen=True)
class ReplicaSource:
    """Replicas as gateways know them: with the key that proves links of their lease."""

    keys: fleet.LinkKeys

    async def one(self, tx: Tx, entity_id: str) -> ReplicaRow | None:
        row = await deployments.replica_row(tx, entity_id)
        return None if row is None else self._keyed(row)

    async def all(self, tx: Tx) -> Sequence[ReplicaRow]:
        return [self._keyed(row) for row in await deployments.all_replica_rows(tx)]

    def _keyed(self, row: ReplicaRow) -> ReplicaRow:
        link = LinkRow(kind=REVERSE, key=self.keys.of(row.lease_id, row.epoch))
        return msgspec.structs.replace(row, link=link)


def link_keys(master_key: bytes) -> fleet.LinkKeys:
    """The keys of leases' links, the same for agents and for gateways."""
    return fleet.LinkKeys(fleet.session_secret(master_key))


@dataclass(frozen=True)
class PodSource:
    """Pods as their fronts know them: with the key that proves links of their lease."""

    keys: fleet.LinkKeys

    async def one(self, tx: Tx, entity_id: str) -> PodRow | None:
        row = await pods.pod_row(tx, entity_id)
        return None if row is None else self._keyed(row)

    async def all(self, tx: Tx) -> Sequence[PodRow]:
        return [self._keyed(row) for row in await pods.all_pod_rows(tx)]

    def _keyed(self, row: PodRow) -> PodRow:
        if not row.lease_id:
            return row
        link = LinkRow(kind=REVERSE, key=self.keys.of(row.lease_id, row.epoch))
        return msgspec.structs.replace(row, link=link)


@dataclass(frozen=True)
class Limits:
    """What this installation allows on its gateways; 0: no limit. ``key`` where it has no own."""

    key_requests_per_minute: int = 0
    requests_per_minute: int = 0  # of an account, as the next two
    tokens_per_minute: int = 0
    requests_at_once: int = 0


@dataclass(frozen=True)
class KeySource:
    """Keys as gateways know them: with their own limits, else with the installation's, and
    whether a limit on their spending is reached."""

    limits: Limits

    async def one(self, tx: Tx, entity_id: str) -> KeyRow | None:
        row = await identity.key_row(tx, KeyId(entity_id))
        if row is None:
            return None
        return self._limited(row, await spending.keys_reached(tx, KeyId(entity_id)))

    async def all(self, tx: Tx) -> Sequence[KeyRow]:
        reached = await spending.keys_reached(tx)
        return [self._limited(row, reached) for row in await identity.all_key_rows(tx)]

    def _limited(self, row: KeyRow, reached: Mapping[KeyId, str]) -> KeyRow:
        said = reached.get(KeyId(row.key_id))
        if said is not None:
            row = msgspec.structs.replace(row, refused=said)
        most = self.limits.key_requests_per_minute
        if row.requests_per_minute or not most:
            return row
        return msgspec.structs.replace(row, requests_per_minute=most)


def sources(master_key: bytes, limits: Limits | None = None) -> Mapping[str, Source]:
    """Where the rows that gateways and fronts keep come from."""
    limits = limits or Limits()
    return {
        "key": KeySource(limits),
        "account": AccountSource(master_key, limits),
        "deployment": Functions(deployments.deployment_row, deployments.all_deployment_rows),
        "replica": ReplicaSource(link_keys(master_key)),
        "pod": PodSource(link_keys(master_key)),
    }
