"""Claim a key, settle it, forget it. Each verb is one transaction or several short ones."""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from brain import billing
from brain.plumbing import Ctx, Tx
from brain.plumbing.sealing import Sealer
from brain.replays import core, store
from brain.replays.models import Replay
from kernel.clock import NS
from kernel.errors import Conflict
from kernel.ids import AccountId
from kernel.wire import encode
from kernel.wire.replays import KEPT_SECONDS, Claim, ClaimAnswer, Kept, Said, Settle

LOOK_SECONDS = 0.1
LOOK_SECONDS_MAX = 0.5
WAITING_MAX = 500  # claims that wait in one process; more are told at once that it runs
PAGE_ROWS = 500
PAGES_MAX = 20  # of one tick
_KEPT = msgspec.json.Decoder(Kept).decode


class Replays:
    """One for each brain process; ``master_key`` is what hashes and seals are derived from."""

    def __init__(self, ctx: Ctx, master_key: bytes) -> None:
        self._ctx = ctx
        self._sealer = Sealer(master_key)
        self._secret = hmac.new(master_key, b"ganglion replays v1", hashlib.sha256).digest()
        self._waiting = 0

    async def claim(self, asked: Claim) -> ClaimAnswer:
        """May be repeated. Where another request with this key runs, waits as long as is asked for
        its end."""
        clock = self._ctx.clock
        until_ns = clock.monotonic_ns() + round(asked.wait_seconds * NS)
        answer = await self._try(asked)
        if answer.said is not Said.RUNNING or self._waiting >= WAITING_MAX:
            return answer
        self._waiting += 1
        try:
            pause = LOOK_SECONDS
            while answer.said is Said.RUNNING and clock.monotonic_ns() < until_ns:
                await clock.sleep(pause)
                pause = min(pause * 1.5, LOOK_SECONDS_MAX)
                answer = await self._try(asked)
        finally:
            self._waiting -= 1
        return answer

    async def settle(self, over: Settle) -> bool:
        """May be repeated. False when the claim is not this request's, or is settled already."""
        now_ns = self._ctx.clock.now_ns()
        name = self._name(over.account_id, over.key)
        async with self._ctx.db.begin() as tx:
            if over.free:
                return await store.free(tx, name, over.request_id)
            sealed = None
            if over.answer is not None:
                sealed = self._sealer.seal(encode(over.answer), _bound(name, over.request_id))
            return await store.settle(
                tx,
                name,
                over.request_id,
                at_ns=now_ns,
                expires_ns=now_ns + KEPT_SECONDS * NS,
                sealed=sealed,
            )

    async def _try(self, asked: Claim) -> ClaimAnswer:
        now_ns = self._ctx.clock.now_ns()
        name = self._name(asked.account_id, asked.key)
        claimed = store.Claimed(
            fingerprint=self._hash("input", asked.account_id, asked.key, asked.input),
            boot_id=asked.boot_id,
            request_id=asked.request_id,
            claimed_ns=now_ns,
            expires_ns=now_ns + KEPT_SECONDS * NS,
        )
        async with self._ctx.db.begin() as tx:
            if await store.claim(tx, name, claimed):
                return ClaimAnswer(Said.RUN, asked.request_id)
            row = await store.locked(tx, name)
            if row is None:  # freed or forgotten in this moment: as good as running, ask again
                return ClaimAnswer(Said.RUNNING, asked.request_id)
            said = core.judge(_earlier(row, claimed), await _owner(tx, row), now_ns)
            if said is Said.RUN:
                await store.take_over(tx, name, claimed)
                return ClaimAnswer(said, asked.request_id)
            first, sealed = row.request_id, row.sealed
        if said is not Said.REPLAY or sealed is None:
            return ClaimAnswer(said, first)
        return self._opened(sealed, name, first)

    def _opened(self, sealed: bytes, name: store.Name, first: str) -> ClaimAnswer:
        try:
            kept = _KEPT(self._sealer.open(sealed, _bound(name, first)))
        except (Conflict, msgspec.MsgspecError):  # sealed with another master key
            return ClaimAnswer(Said.GONE, first)
        return ClaimAnswer(Said.REPLAY, first, kept)

    def _name(self, account_id: str, key: str) -> store.Name:
        return store.Name(AccountId.parse(account_id), self._hash("key", account_id, key))

    def _hash(self, *parts: str) -> bytes:
        """No part has a line feed: each is an id, a key as a header bears it, or hex."""
        return hmac.new(self._secret, "\n".join(parts).encode(), hashlib.sha256).digest()


def _earlier(row: Replay, claimed: store.Claimed) -> core.Earlier:
    return core.Earlier(
        same_input=hmac.compare_digest(row.fingerprint, claimed.fingerprint),
        same_request=row.request_id == claimed.request_id and row.boot_id == claimed.boot_id,
        claimed_ns=row.claimed_ns,
        settled=row.settled_ns is not None,
        kept=row.sealed is not None,
        expires_ns=row.expires_ns,
    )


async def _owner(tx: Tx, row: Replay) -> core.Owner:
    seen_ns, closed = await billing.gateway_boot(tx, row.boot_id)
    began = closed and await billing.request_began(tx, row.account_id, row.request_id)
    return core.Owner(seen_ns=seen_ns, closed=closed, began=began)


def _bound(name: store.Name, request_id: str) -> str:
    return f"replay/{name.account_id}/{name.key_hash.hex()}/{request_id}"


async def forget_old_replays(ctx: Ctx) -> int:
    """Delete what is past its time, page by page; how many rows."""
    gone = 0
    for _ in range(PAGES_MAX):
        async with ctx.db.begin() as tx:
            page = await store.forget(tx, ctx.clock.now_ns(), PAGE_ROWS)
        gone += page
        if page < PAGE_ROWS:
            break
    return gone
