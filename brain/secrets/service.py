"""Verbs on secrets: set, delete, open for a claim, give to one lease, forget.

Values leave this room in two ways only: to the claim that seals them for its lease, and to the
node that holds that lease. They are in no error, log line, event or answer to a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from brain.plumbing import Ctx, Tx, audit
from brain.plumbing.sealing import Sealer
from brain.secrets import core, store
from brain.secrets.models import AccountSecret
from kernel.errors import LimitReached, NotFound
from kernel.ids import AccountId, LeaseId, SecretId
from kernel.masking import words_to_hide
from kernel.wire.agent import RegistryLogin


@dataclass(frozen=True)
class LeaseSecrets:
    """What one lease's work is given beside what its launch says in the open."""

    environment: dict[str, str] = field(default_factory=dict, repr=False)
    registry: RegistryLogin | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Vault:
    """Seals and opens with the installation's key; one a process, made by wiring."""

    sealer: Sealer = field(repr=False)

    async def set(
        self, tx: Tx, ctx: Ctx, account_id: AccountId, name: str, value: str, actor: str
    ) -> AccountSecret:
        """Keep a value under a name, or replace it. May be repeated. What runs keeps the value
        that it was given; what is claimed from now on gets this one."""
        sealed = self.sealer.seal(
            core.check_value(value), _account_bound(account_id, core.check_name(name))
        )
        known = await store.by_name(tx, account_id, name)
        if known is None and await store.count(tx, account_id) >= core.SECRETS_MAX:
            raise LimitReached(f"The account has {core.SECRETS_MAX} secrets. Delete some first.")
        now = ctx.clock.now()
        row = await store.keep(
            tx,
            secret_id=ctx.ids.new(SecretId),
            account_id=account_id,
            name=name,
            sealed=sealed,
            created_at=now,
            changed_at=now,
        )
        await audit.record(tx, ctx, actor, "secret.set", str(row.secret_id), {"name": name})
        return row

    async def opened(self, tx: Tx, account_id: AccountId, names: Sequence[str]) -> dict[str, str]:
        """The values of these names, now. Raises ``MissingSecret`` naming those that are not."""
        rows = await store.by_names(tx, account_id, names)
        refusal = core.missing(names, rows)
        if refusal is not None:
            raise refusal
        return {
            name: self.sealer.open(rows[name].sealed, _account_bound(account_id, name)).decode()
            for name in names
        }

    async def give(self, tx: Tx, lease_id: LeaseId, given: LeaseSecrets) -> None:
        """Seal what one lease is given, in the transaction of its claim. May be repeated."""
        core.check_environment(given.environment)
        packed = msgspec.json.encode((given.environment, given.registry))
        await store.keep_for_lease(tx, lease_id, self.sealer.seal(packed, _lease_bound(lease_id)))

    async def of_lease(self, tx: Tx, lease_id: LeaseId) -> LeaseSecrets | None:
        """What a lease was given; None when nothing was, or when it has closed."""
        sealed = await store.of_lease(tx, lease_id)
        if sealed is None:
            return None
        opened = self.sealer.open(sealed, _lease_bound(lease_id))
        environment, registry = msgspec.json.decode(
            opened, type=tuple[dict[str, str], RegistryLogin | None]
        )
        return LeaseSecrets(environment, registry)

    async def words_to_hide(self, tx: Tx, lease_id: LeaseId) -> tuple[str, ...]:
        """What must not stand in the log lines of this lease's work."""
        given = await self.of_lease(tx, lease_id)
        if given is None:
            return ()
        registry = [] if given.registry is None else [given.registry.password]
        return words_to_hide([*given.environment.values(), *registry])


async def delete(tx: Tx, ctx: Ctx, account_id: AccountId, name: str, actor: str) -> None:
    """Forget a secret; ``NotFound`` when there is none. Running work keeps what it was given."""
    row = await store.by_name(tx, account_id, core.check_name(name), lock=True)
    if row is None:
        raise NotFound(f"You have no secret {name}.")
    await store.remove(tx, row)
    await audit.record(tx, ctx, actor, "secret.delete", str(row.secret_id), {"name": name})


async def forget(tx: Tx, lease_id: LeaseId) -> None:
    """A lease has closed: what it was given is gone. May be repeated."""
    await store.forget_lease(tx, lease_id)


def _account_bound(account_id: AccountId, name: str) -> str:
    return f"secret/{account_id}/{name}"


def _lease_bound(lease_id: LeaseId) -> str:
    return f"lease/{lease_id}"
