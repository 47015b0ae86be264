"""What is for rent, what is wanted, and what was decided: values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property

from kernel.errors import BadInput
from kernel.ids import AccountId, NodeId
from kernel.money import Money

MILLION = 1_000_000
LEFT = "cheaper ones are left to what is placed with it"


class Trust(IntEnum):
    """How far a place is trusted; a request may ask for at least one of these."""

    COMMUNITY = 1
    VERIFIED = 2
    OWN = 3


@dataclass(frozen=True, slots=True)
class Offer:
    """GPUs of one kind in one place: on a node, or a whole machine that a cloud would rent us.

    Prices are nano-dollars per GPU-hour, as the renter pays them. A cloud's machine is taken
    whole: ``free`` and ``total`` are its GPUs.
    """

    node_id: NodeId | None  # None: at a cloud
    gpu_name: str
    vram_mib: int  # of each GPU
    free: int
    total: int
    price_nano: int
    seen_ns: int  # when the node was last heard, or the cloud last told of it
    node_name: str = ""
    region: str = ""
    spot: bool = False
    reliability_ppm: int = MILLION
    trust: Trust = Trust.COMMUNITY
    simulated: bool = False
    engine: str = "process"  # the agent's hand: "process" or "docker"
    storage_nano_gib_hour: int = 0
    cold_start_seconds: int = 60
    withheld: str = ""  # why it may not be sold now; "" = it may
    withheld_until_ns: int = 0  # when it may be tried again; 0: not known
    account_id: AccountId | None = None  # whose node it is
    cloud: str = ""  # "" = one of our nodes
    offer_key: str = ""  # what orders exactly this at its cloud
    host: str = ""  # the cloud's id of the physical host, where it tells one
    failure_ppm: int = 0  # the chance that an attempt there does not get to serve
    machines: int | None = None  # free ones of this kind at the cloud, where it tells
    seconds_max: int | None = None  # how long it can be rented at most
    disk_gib_max: int | None = None
    disk_gib_included: int = 0  # in the price of the GPUs
    models: frozenset[str] = frozenset()  # served there lately: their files may still lie there

    @property
    def place(self) -> str:
        """The node's id, or the cloud and its key of the offer."""
        return f"{self.cloud}/{self.offer_key}" if self.node_id is None else self.node_id

    @property
    def neighbourhood(self) -> str:
        """What fails together: the node, or the cloud's host or region."""
        if self.node_id is not None:
            return self.node_id
        return f"{self.cloud}/{self.region}/{self.host}"

    @property
    def key(self) -> tuple[str, str, int, bool]:
        """One place may hold several kinds of GPU: this tells them apart."""
        return (self.place, self.gpu_name, self.vram_mib, self.simulated)


@dataclass(frozen=True, order=True)
class Shape:
    """A way to fit the work: so many GPUs with at least so much memory each."""

    gpus: int
    vram_mib: int

    def __post_init__(self) -> None:
        if not 1 <= self.gpus <= 64 or self.vram_mib < 0:
            raise BadInput("A shape needs 1 to 64 GPUs and no negative memory.")


class Prefer(StrEnum):
    """Between places that cost about the same: far from what runs already, or on what is full."""

    CHEAPEST = "cheapest"
    SPREAD = "spread"
    PACK = "pack"


@dataclass(frozen=True)
class PlanRequest:
    """What is wanted. Any of ``shapes`` will do; on each offer the one with fewest GPUs is used.

    ``avoid`` names places with the reason why they are not to be tried again. ``beside`` counts
    what runs already of the same work, by place or
    neighbourhood. Where ``model`` does not lie yet, a
    start takes ``fetch_seconds`` more. ``budget_nano`` is the most that all of it may cost.
    """

    shapes: tuple[Shape, ...]
    regions: frozenset[str] = frozenset()  # empty: anywhere
    gpu_names: frozenset[str] = frozenset()  # empty: any; else parts of names
    price_nano_max: int | None = None
    spot: bool = False  # spot offers may be used
    simulated: bool = False  # simulated GPUs may be used
    containers: bool = False  # the work runs only in a container
    reliability_ppm_min: int = 0
    trust_min: Trust = Trust.COMMUNITY
    seconds: int = 3600  # how long the work is expected to run
    storage_gib: int = 0
    age_seconds_max: int = 25
    cloud_age_seconds_max: int = 600
    avoid: Mapping[str, str] = field(default_factory=dict)
    only: str = ""  # the one place where it may stand; "" = any
    only_why: str = ""  # why it may stand nowhere else, as a sentence
    clouds: bool = True  # machines of clouds may be used
    clouds_why: str = ""  # why they may not, as a sentence
    refused_by: Mapping[str, str] = field(
        default_factory=dict
    )  # clouds that cannot run it, and why
    prefer: Prefer = Prefer.CHEAPEST
    beside: Mapping[str, int] = field(default_factory=dict)
    model: str = ""
    fetch_seconds: int = 0
    budget_nano: int | None = None

    def __post_init__(self) -> None:
        if not self.shapes:
            raise BadInput("A request needs at least one shape.")
        if self.seconds < 1 or self.storage_gib < 0 or self.fetch_seconds < 0:
            raise BadInput("A request needs at least one second and no negative storage.")


@dataclass(frozen=True)
class Cost:
    """What the work is expected to cost in all, part by part, in nano-dollars.

    ``preference_nano`` is no money: it is what not being preferred counts for.
    """

    rent_nano: int
    storage_nano: int
    cold_start_nano: int
    failure_risk_nano: int
    preference_nano: int = 0

    @property
    def total_nano(self) -> int:
        return self.rent_nano + self.storage_nano + self.cold_start_nano + self.failure_risk_nano

    @property
    def score(self) -> int:
        return self.total_nano + self.preference_nano


@dataclass(frozen=True)
class Candidate:
    """One offer as the planner saw it. ``score`` is the expected cost, and what a preference adds;
    less is better."""

    offer: Offer
    ok: bool
    gpus: int  # 0 when nothing fits
    score: int | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    offer: Offer
    gpus: int
    cost: Cost

    @property
    def sentence(self) -> str:
        name = self.offer.node_name or self.offer.place
        cost = Money(self.cost.total_nano)
        return f"{self.gpus} × {self.offer.gpu_name} on {name}: expected to cost {cost}."

    @property
    def node_id(self) -> NodeId:
        """Asked only where the offer is a node's."""
        assert self.offer.node_id is not None, f"{self.offer.place} is rented, not claimed"
        return self.offer.node_id


@dataclass(frozen=True)
class Why:
    """A plan's reasons. ``candidates`` are those worth reading: the best that fit, then the
    cheapest that do not. ``often`` are the most frequent reasons, each as one offer has it."""

    candidates: tuple[Candidate, ...]
    offers: int
    fitting: int
    often: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Plan:
    """The decision. Texts are written when they are first asked for."""

    chosen: Choice | None
    _why: Callable[[], Why] = field(repr=False, compare=False)
    _explain: Callable[[], tuple[Candidate, ...]] = field(repr=False, compare=False)

    @cached_property
    def why(self) -> Why:
        return self._why()

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every offer with its reasons: best first, then the rejected ones by price."""
        return self._explain()

    @property
    def summary(self) -> str:
        """One sentence for people: why this one, or why none."""
        told = self.why
        if self.chosen is not None:
            best = told.candidates[0]
            if best.offer == self.chosen.offer:
                return f"{best.reasons[0]} It is the cheapest of {told.fitting} that fit."
            return f"{self.chosen.sentence} It is one of {told.fitting} that fit; {LEFT}."
        if told.fitting:
            return f"What fits ({told.fitting} offers) is taken by what is placed with it."
        if not told.offers:
            return "No node is enrolled."
        said = "; ".join(f"{reason.rstrip('.')} ({count}×)" for reason, count in told.often)
        return f"None of {told.offers} offers fits: {said}."
