"""Random leases and their usage for property tests, and the whole settlement on values alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import strategies as st

from brain.billing.core.charge import Attempt, Prior
from brain.billing.core.lease import Lease, LeaseTerms
from brain.billing.core.posting import Asset, Posting
from brain.billing.core.window import Piece, settle
from brain.billing.core.writing import Writing, shared
from kernel.clock import ManualClock
from kernel.ids import AccountId, DeploymentId, LeaseId, ReplicaId, SeededIds, TxId

PLATFORM = AccountId("acct_" + "0" * 31 + "1")
PROVIDER = AccountId("acct_" + "f" * 32)
ACCOUNTS = [AccountId("acct_" + c * 32) for c in "abc"]
WINDOW = 100
END = 1_000
SELDOM = st.sampled_from([False, False, False, True])

IDS = SeededIds(ManualClock(), 7)


def a_lease(**changed: object) -> Lease:
    terms: dict[str, object] = {
        "lease_id": IDS.new(LeaseId),
        "epoch": 1,
        "payer": PLATFORM,
        "provider": PROVIDER,
        "gpus": 1,
        "renter_rate_nano": 3_600_000_000,
        "provider_rate_nano": 0,
        "mode": "pool",
        "pool_rate_nano": 7_777_777_777,
        "ceiling_prompt_nano": 0,
        "ceiling_completion_nano": 0,
        "deployment_id": IDS.new(DeploymentId),
        "replica_id": IDS.new(ReplicaId),
        "opened_ns": 0,
    }
    lease: dict[str, object] = {
        "fee_basis_points": 1500,
        "loading_ns": 0,
        "ready_ns": 0,
        "draining_ns": None,
        "evidence_ns": 2 * END,
        "closed_ns": None,
        "settled_ns": 0,
        "busy_ready_ns": 0,
        "busy_drain_ns": 0,
        "rounding_ns": 0,
        "late_ns": 0,
        "billed_ns": None,
        "hold_id": None,
    }
    for name, value in changed.items():
        (terms if name in terms else lease)[name] = value
    return Lease(terms=LeaseTerms(**terms), **lease)


@st.composite
def pieces(draw: st.DrawFn, max_size: int = 12) -> list[Piece]:
    """Requests of three accounts, each cut into consecutive pieces."""
    made: list[Piece] = []
    for number in range(draw(st.integers(1, max_size // 2))):
        cuts = sorted(draw(st.lists(st.integers(0, END), min_size=2, max_size=4)))
        account = draw(st.sampled_from(ACCOUNTS))
        weight = draw(st.integers(1, 5))
        failed, estimated = draw(SELDOM), draw(SELDOM)
        spans = list(itertools.pairwise(cuts))
        made += [
            Piece(
                key=f"{number}-{n}",
                account=account,
                request=f"r{number}",
                attempt=0,
                start_ns=start,
                end_ns=end,
                open_ns=start,
                weight=weight,
                final=n == len(spans) - 1,
                alive=False,
                failed=failed and n == len(spans) - 1,
                prompt_tokens=draw(st.integers(0, 50)),
                completion_tokens=draw(st.integers(0, 50)),
                tokens_estimated=estimated,
            )
            for n, (start, end) in enumerate(spans)
        ]
    return made


@dataclass
class Books:
    """One lease settled step by step, as the store would keep it."""

    lease: Lease
    pieces: dict[str, Piece] = field(default_factory=dict)
    ticks: dict[str, int] = field(default_factory=dict)
    late_ticks: dict[str, int] = field(default_factory=dict)
    waived: dict[str, int] = field(default_factory=dict)
    carries: dict[str, int] = field(default_factory=dict)
    postings: list[Posting] = field(default_factory=list)
    accounted: list[tuple[int, int]] = field(default_factory=list)
    windows: list[tuple[int, int]] = field(default_factory=list)
    closed: bool = False
    asks_for_lone: bool = True  # as the store does not: what a lone piece says is its own

    def report(self, *reported: Piece) -> None:
        """Segments arrive; one that is known changes nothing."""
        for piece in reported:
            self.pieces.setdefault(piece.key, piece)

    def settle(self, until_ns: int) -> None:
        waiting = [
            p for p in self.pieces.values() if p.open_ns < p.end_ns or p.key not in self.ticks
        ]
        result = settle(
            self.lease,
            waiting,
            until_ns=until_ns,
            window_ns=WINDOW,
            accounted=[(p.start_ns, p.open_ns) for p in self.pieces.values()],
        )
        writing = self._writing()
        history = self._history()
        shares = shared(self.lease, result, history)
        writing.settlement(result, shares, history, finished=self.closed)
        self._keep(writing)
        self.windows += [(w.start_ns, w.end_ns) for w in result.windows]
        for key, folding in result.foldings.items():
            piece = self.pieces[key]
            alone = piece.lone and folding.open_ns == piece.start_ns
            self.pieces[key] = piece._replace(open_ns=folding.open_ns, lone=alone)
            self.ticks[key] = self.ticks.get(key, 0) + folding.ticks
            self.late_ticks[key] = self.late_ticks.get(key, 0) + folding.late_ticks

    def close(self) -> None:
        writing = self._writing()
        writing.close()
        self._keep(writing)
        self.closed = True

    def _writing(self) -> Writing:
        names = {*ACCOUNTS, PLATFORM, "platform:pool-cost"}
        known = {name: self.carries.get(name, 0) for name in names}
        return Writing(self.lease, known, lambda: IDS.new(TxId), PLATFORM)

    def _keep(self, writing: Writing) -> None:
        self.lease, self.carries = writing.lease, writing.carries
        self.postings += writing.postings
        for waiver in writing.waivers:
            self.waived[waiver.key] = self.waived.get(waiver.key, 0) + waiver.units

    def _history(self) -> dict[Attempt, Prior]:
        found: dict[Attempt, Prior] = {}
        for piece in self.pieces.values():
            if piece.lone and not self.asks_for_lone:
                continue
            old = found.get((piece.request, piece.attempt), Prior())
            found[(piece.request, piece.attempt)] = Prior(
                old.ticks + self.ticks.get(piece.key, 0),
                old.prompt_tokens + piece.prompt_tokens,
                old.completion_tokens + piece.completion_tokens,
            )
        return found

    def posted(self, account: str, asset: Asset = Asset.USD) -> int:
        return sum(
            entry.amount
            for posting in self.postings
            for entry in posting.entries
            if (entry.account, entry.asset) == (account, asset)
        )

    def summary(self) -> dict[tuple[str, str, str], int]:
        """What is posted, by key, account and asset: what a replay must give again."""
        return {
            (
                posting.key.replace(str(self.lease.id), ""),
                entry.account.split("_")[-1],
                entry.asset,
            ): (entry.amount)
            for posting in self.postings
            for entry in posting.entries
        }
