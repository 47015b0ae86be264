"""Verbs on what opens a pod: the account's SSH keys, and credentials of its registries."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError

from brain.plumbing import Ctx, Tx, audit, changes
from brain.plumbing.sealing import Sealer
from brain.pods import core, store
from brain.pods.keys import read_key
from brain.pods.models import Pod, Registry, SshKey
from kernel.errors import BadInput, Conflict, LimitReached
from kernel.ids import AccountId, RegistryId, SshKeyId
from kernel.wire.agent import RegistryLogin

SSH_KEYS_MAX = 50  # of an account
REGISTRIES_MAX = 50
PASSWORD_BYTES_MAX = 16 << 10  # some registries' are tokens
USERNAME_CHARS_MAX = 255


async def add_key(
    tx: Tx, ctx: Ctx, account_id: AccountId, name: str | None, text: str, actor: str
) -> SshKey:
    """A public key that opens a shell in each pod of the account, at once also in those that run.

    ``BadInput`` for what is no key or too weak; ``Conflict`` for one that is there.
    """
    key = read_key(text)
    known = await store.ssh_keys(tx, account_id)
    if len(known) >= SSH_KEYS_MAX:
        raise LimitReached(f"The account has {SSH_KEYS_MAX} SSH keys. Delete some first.")
    named = (name or key.comment or key.fingerprint)[:100]
    if any(one.fingerprint == key.fingerprint for one in known):
        raise _key_known(key.fingerprint)
    row = SshKey(
        ssh_key_id=ctx.ids.new(SshKeyId),
        account_id=account_id,
        name=named,
        line=key.line,
        fingerprint=key.fingerprint,
        created_at=ctx.clock.now(),
    )
    tx.add(row)
    try:
        await tx.flush()
    except IntegrityError as error:
        raise _key_known(key.fingerprint) from error
    await audit.record(
        tx, ctx, actor, "ssh_key.add", str(row.ssh_key_id), {"fingerprint": key.fingerprint}
    )
    await _tell_pods(tx, account_id)
    return row


async def delete_key(tx: Tx, ctx: Ctx, account_id: AccountId, named: str, actor: str) -> None:
    """It opens nothing any more; who is logged in with it stays so until they leave."""
    row = await store.ssh_key(tx, account_id, named)
    await tx.delete(row)
    await tx.flush()
    await audit.record(tx, ctx, actor, "ssh_key.delete", str(row.ssh_key_id), {})
    await _tell_pods(tx, account_id)


async def add_registry(
    tx: Tx,
    ctx: Ctx,
    sealer: Sealer,
    account_id: AccountId,
    wanted: RegistryLogin,
    name: str,
    actor: str,
) -> Registry:
    """Keep credentials for one registry, sealed. They are given to nodes that pull with them."""
    core.check_name(name)
    server = core.check_server(wanted.server)
    if not 1 <= len(wanted.username) <= USERNAME_CHARS_MAX or not wanted.username.isprintable():
        raise BadInput("username must have 1 to 255 printable characters.", param="username")
    packed = wanted.password.encode("utf-8", "surrogatepass")
    if not 1 <= len(packed) <= PASSWORD_BYTES_MAX:
        raise BadInput(f"password must have 1 to {PASSWORD_BYTES_MAX} bytes.", param="password")
    if len(await store.registries(tx, account_id)) >= REGISTRIES_MAX:
        raise LimitReached(f"The account has {REGISTRIES_MAX} registries. Delete some first.")
    registry_id = ctx.ids.new(RegistryId)
    row = Registry(
        registry_id=registry_id,
        account_id=account_id,
        name=name,
        server=server,
        username=wanted.username,
        sealed=sealer.seal(packed, _bound(account_id, registry_id)),
        created_at=ctx.clock.now(),
    )
    tx.add(row)
    try:
        await tx.flush()
    except IntegrityError as error:
        raise Conflict(
            f"You have registry credentials {name!r} already. Delete them, or give another name.",
            code="name_taken",
            param="name",
        ) from error
    await audit.record(tx, ctx, actor, "registry.add", str(registry_id), {"server": server})
    return row


async def delete_registry(tx: Tx, ctx: Ctx, account_id: AccountId, named: str, actor: str) -> None:
    """``Conflict`` while a pod pulls with them: it could not start again."""
    row = await store.registry(tx, account_id, named, lock=True)
    users = await store.uses_registry(tx, row.registry_id)
    if users:
        raise Conflict(
            f"Pods pull with these credentials: {', '.join(users)}. Terminate them first."
        )
    await tx.delete(row)
    await tx.flush()
    await audit.record(tx, ctx, actor, "registry.delete", str(row.registry_id), {})


async def login(tx: Tx, sealer: Sealer, pod: Pod) -> RegistryLogin | None:
    """What the pod's node logs in with, or None."""
    if pod.registry_id is None:
        return None
    row = await store.registry(tx, pod.account_id, str(pod.registry_id))
    password = sealer.open(row.sealed, _bound(pod.account_id, row.registry_id)).decode(
        "utf-8", "surrogatepass"
    )
    return RegistryLogin(server=row.server, username=row.username, password=password)


async def _tell_pods(tx: Tx, account_id: AccountId) -> None:
    for pod_id in await store.live_of(tx, account_id):
        await changes.mark(tx, "pod", pod_id)


def _bound(account_id: AccountId, registry_id: RegistryId) -> str:
    return f"registry/{account_id}/{registry_id}"


def _key_known(fingerprint: str) -> Conflict:
    return Conflict(f"You have this key already ({fingerprint}).", code="ssh_key_known")
