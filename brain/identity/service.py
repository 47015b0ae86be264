"""What identity does, a function a verb: load, decide, save."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy.dialects.postgresql import insert

from brain.edge import Attempt, recall, remember
from brain.identity import store
from brain.identity.core import Principal, Role, Secret, new_secret, normal_email
from brain.identity.models import Account, ApiKey, User
from brain.identity.passwords import Passwords
from brain.identity.principal import Identity
from brain.identity.tokens import AccessToken
from brain.plumbing import Ctx, Tx, audit, changes
from kernel.errors import BadInput, Conflict, NotFound, OutOfCredit, Unauthenticated
from kernel.ids import AccountId, KeyId, UserId

KEYS_PER_ACCOUNT_MAX = 1000

_log = structlog.get_logger()


@dataclass(frozen=True)
class NewUser:
    email: str
    password: str
    name: str


@dataclass(frozen=True)
class Registered:
    account_id: AccountId
    user_id: UserId


@dataclass(frozen=True)
class NewKey:
    """``cost_limit_nano`` 0: no limit; ``models`` None: all that the account may use.

    The last three are None where the installation's own limits are meant.
    """

    name: str
    scopes: frozenset[str]
    expires_in_days: int | None
    models: tuple[str, ...] | None
    cost_limit_nano: int
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_at_once: int | None = None


async def register(ctx: Ctx, passwords: Passwords, new: NewUser) -> Registered:
    """Make an account with its first user.

    An address that is taken gets the same answer after the same time (ids that lead nowhere),
    unless the password is that user's: then it is a repeat, and gets the ids it got before.
    """
    email = normal_email(new.email)
    async with ctx.db.begin() as tx:
        known = await store.user_by_email(tx, email)
    if known is None:
        hashed = await passwords.hash(new.password)
        made = await _add_user(ctx, email, hashed, new.name, roles=[])
        if made is not None:
            return made
        async with ctx.db.begin() as tx:
            known = await store.user_by_email(tx, email)
    if known is not None and await passwords.verify(known.password_hash, new.password):
        return Registered(account_id=known.account_id, user_id=known.id)
    return Registered(account_id=ctx.ids.new(AccountId), user_id=ctx.ids.new(UserId))


async def _add_user(
    ctx: Ctx, email: str, password_hash: str, name: str, *, roles: list[str]
) -> Registered | None:
    """None when another request took the address meanwhile."""
    made = Registered(account_id=ctx.ids.new(AccountId), user_id=ctx.ids.new(UserId))
    now = ctx.clock.now()
    async with ctx.db.begin() as tx:
        tx.add(Account(id=made.account_id, name=name, created_at=now))
        await tx.flush()
        inserted = await tx.execute(
            insert(User)
            .values(
                id=made.user_id,
                account_id=made.account_id,
                email=email,
                name=name,
                password_hash=password_hash,
                roles=roles,
                created_at=now,
            )
            .on_conflict_do_nothing(index_elements=["email"])
            .returning(User.id)
        )
        if inserted.one_or_none() is None:
            await tx.rollback()
            return None
        await audit.record(tx, ctx, str(made.user_id), "user.register", str(made.user_id))
    return made


async def log_in(ctx: Ctx, identity: Identity, email: str, password: str) -> AccessToken:
    """An access token, or one and the same refusal for every reason."""
    async with ctx.db.begin() as tx:
        user = await store.user_by_email(tx, normal_email(email))
    usable = user is not None and user.disabled_at is None
    stored = user.password_hash if user is not None and usable else None
    if not await identity.passwords.verify(stored, password) or user is None:
        _log.info("login_refused")
        raise Unauthenticated("The e-mail or the password is wrong.", code="wrong_login")
    return identity.tokens.issue(user.id)


async def ensure_admin(
    ctx: Ctx, email: str, password: str, *, passwords: Passwords | None = None
) -> Registered:
    """An administrator with this address and password; made, or promoted and given it."""
    hasher = passwords or Passwords()
    hashed = await hasher.hash(password)
    address = normal_email(email)
    if passwords is None:
        hasher.close()
    made = await _add_user(ctx, address, hashed, "Administrator", roles=[Role.ADMIN.value])
    if made is not None:
        return made
    async with ctx.db.begin() as tx:
        user = await store.user_by_email(tx, address)
        assert user is not None, "the address is taken, so its user is there"
        user.password_hash = hashed
        user.roles = sorted({*user.roles, Role.ADMIN.value})
        await tx.flush()
        await audit.record(tx, ctx, "operator", "user.make_admin", str(user.id))
    return Registered(account_id=user.account_id, user_id=user.id)


async def create_key(
    ctx: Ctx, identity: Identity, principal: Principal, new: NewKey, tried: Attempt
) -> tuple[ApiKey, Secret]:
    """A new API key and its secret, which is nowhere afterwards.

    ``OutOfCredit`` until the account has bought ``MINIMUM_CREDITS_FOR_API_KEY`` credits;
    ``Conflict`` for a repeat, because the secret cannot be shown again.
    """
    most = identity.key_requests_max
    if new.requests_per_minute is not None and new.requests_per_minute > most:
        raise BadInput(
            f"A key may have at most {most} requests a minute here; ask for fewer.",
            param="requests_per_minute",
        )
    secret = new_secret(secrets.token_bytes(32))
    now = ctx.clock.now()
    lasts = new.expires_in_days
    row = ApiKey(
        id=ctx.ids.new(KeyId),
        account_id=principal.account_id,
        name=new.name,
        prefix=secret.prefix,
        digest=secret.digest,
        scopes=sorted(new.scopes),
        models=None if new.models is None else sorted(new.models),
        cost_limit_nano=new.cost_limit_nano,
        requests_per_minute=new.requests_per_minute,
        tokens_per_minute=new.tokens_per_minute,
        requests_at_once=new.requests_at_once,
        created_at=now,
        expires_at=None if lasts is None else now + timedelta(days=lasts),
    )
    async with ctx.db.begin() as tx:
        earlier = await recall(tx, tried, at=now)
        if earlier is not None:
            raise Conflict(
                f"This request made {earlier['key_id']} before; its secret was shown then."
                " Revoke it and make a new one if the secret is lost.",
                key_id=earlier["key_id"],
            )
        await _may_make_key(tx, identity, principal.account_id)
        tx.add(row)
        await changes.mark(tx, "key", row.id)
        await remember(tx, tried, {"key_id": row.id})
        await audit.record(tx, ctx, principal.actor, "key.create", str(row.id))
    return row, secret


async def _may_make_key(tx: Tx, identity: Identity, account_id: AccountId) -> None:
    held = await store.count_keys(tx, account_id)
    if held >= KEYS_PER_ACCOUNT_MAX:
        raise Conflict(f"An account has at most {KEYS_PER_ACCOUNT_MAX} keys; revoke some.")
    needed = identity.credits_for_key_min
    if needed == 0:
        return
    bought = await identity.gate.purchased_credits(tx, account_id)
    if bought < needed:
        raise OutOfCredit(
            f"An API key needs {needed} purchased credits; this account has bought {bought}."
        )


async def revoke_key(ctx: Ctx, principal: Principal, key_id: KeyId) -> None:
    """Stop a key everywhere within a second. Again: nothing happens."""
    await _set_revoked(ctx, principal, key_id, revoked=True)


async def activate_key(ctx: Ctx, principal: Principal, key_id: KeyId) -> ApiKey:
    """Let a revoked key work again. Again: nothing happens."""
    return await _set_revoked(ctx, principal, key_id, revoked=False)


async def _set_revoked(ctx: Ctx, principal: Principal, key_id: KeyId, *, revoked: bool) -> ApiKey:
    async with ctx.db.begin() as tx:
        row = await store.key_of_account(tx, principal.account_id, key_id)
        if row is None:
            raise NotFound(f"There is no API key {key_id}.")
        if (row.revoked_at is not None) == revoked:
            return row
        row.revoked_at = ctx.clock.now() if revoked else None
        await tx.flush()
        await changes.mark(tx, "key", key_id)
        action = "key.revoke" if revoked else "key.activate"
        await audit.record(tx, ctx, principal.actor, action, str(key_id))
    return row
