"""Several requests planned together, so that none takes what another needs more. Pure.

One after the other each takes its cheapest place, and the last may find none. Together they are
placed so that as many as can be have a place, and then at the least cost in all: branch and bound
over the few places that matter to each, which is exact unless it runs out of steps. Then the best
found so far counts, and that is never worse than one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from brain.scheduling.offer import Choice, Offer, Plan, PlanRequest
from brain.scheduling.planner import Board

TOGETHER_MAX = 16  # more requests than this are planned by so many at a time
STEPS_MAX = 20_000
UNPLACED = 10**18  # no price comes near


@dataclass(frozen=True, slots=True)
class _Option:
    score: int
    place: int  # of the table of places
    units: int  # of its room
    choice: Choice


def plan_together(board: Board, requests: Sequence[PlanRequest], now_ns: int) -> list[Plan]:
    """A plan for each request, in their order, that can all be carried out side by side."""
    room = _Room()
    plans: list[Plan] = []
    for first in range(0, len(requests), TOGETHER_MAX):
        some = requests[first : first + TOGETHER_MAX]
        options = [_options(board, request, now_ns, len(some), room) for request in some]
        for request, taken in zip(some, _assign(options, room), strict=True):
            alone = board.plan(request, now_ns)
            plans.append(replace(alone, chosen=None if taken is None else taken.choice))
    return plans


class _Room:
    """What is left of places: GPUs of a node, machines of a cloud's offer."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str, int, bool], int] = {}
        self.left: list[int] = []

    def number(self, offer: Offer) -> int:
        known = self._numbers.get(offer.key)
        if known is None:
            known = self._numbers[offer.key] = len(self.left)
            self.left.append(room_of(offer))
        return known


def room_of(offer: Offer) -> int:
    """How many units it has: GPUs, or machines (as many as one likes where none are counted)."""
    if not offer.cloud:
        return offer.free
    return TOGETHER_MAX if offer.machines is None else offer.machines


def _options(
    board: Board, request: PlanRequest, now_ns: int, most: int, room: _Room
) -> list[_Option]:
    """Its best places, one more than others could take away from it, the best first."""
    found: list[_Option] = []
    avoid = dict(request.avoid)
    while len(found) < most:
        chosen = board.plan(replace(request, avoid=avoid), now_ns).chosen
        if chosen is None:
            break
        avoid[chosen.offer.place] = "It is known already."
        place, units = room.number(chosen.offer), 1 if chosen.offer.cloud else chosen.gpus
        if room.left[place] >= units:
            found.append(_Option(chosen.cost.score, place, units, chosen))
    return found


def _assign(options: Sequence[list[_Option]], room: _Room) -> list[_Option | None]:
    """The best assignment found; takes it from the room."""
    best = _in_turn(options, room.left)
    if any(taken is not rows[0] for taken, rows in zip(best, options, strict=True) if rows):
        best = _search(options, room.left, best)
    for taken in best:
        if taken is not None:
            room.left[taken.place] -= taken.units
    return best


def _in_turn(options: Sequence[list[_Option]], left: Sequence[int]) -> list[_Option | None]:
    room = list(left)
    taken: list[_Option | None] = []
    for rows in options:
        chosen = next((o for o in rows if room[o.place] >= o.units), None)
        if chosen is not None:
            room[chosen.place] -= chosen.units
        taken.append(chosen)
    return taken


def _cost(taken: Sequence[_Option | None]) -> int:
    return sum(UNPLACED if one is None else one.score for one in taken)


def _search(
    options: Sequence[list[_Option]], left: Sequence[int], known: list[_Option | None]
) -> list[_Option | None]:
    """Branch and bound from the request that would lose most by not having its best place."""
    order = sorted(range(len(options)), key=lambda i: -_regret(options[i]))
    least = [0] * (len(order) + 1)
    for depth in reversed(range(len(order))):
        rows = options[order[depth]]
        least[depth] = least[depth + 1] + (rows[0].score if rows else UNPLACED)
    search = _Search([options[i] for i in order], least, list(left), _cost(known))
    search.step(0, 0, [])
    if search.best is None:
        return known
    found: list[_Option | None] = [None] * len(options)
    for depth, taken in enumerate(search.best):
        found[order[depth]] = taken
    return found


def _regret(rows: list[_Option]) -> int:
    if not rows:
        return -1
    return (rows[1].score if len(rows) > 1 else UNPLACED) - rows[0].score


@dataclass
class _Search:
    rows: list[list[_Option]]
    least: list[int]  # cost of all from this depth on, were there room for each
    left: list[int]
    cost: int  # of the best that is known
    best: list[_Option | None] | None = None
    steps: int = 0

    def step(self, depth: int, cost: int, taken: list[_Option | None]) -> None:
        self.steps += 1
        if cost + self.least[depth] >= self.cost or self.steps > STEPS_MAX:
            return
        if depth == len(self.rows):
            self.cost, self.best = cost, list(taken)
            return
        for option in self.rows[depth]:
            if self.left[option.place] >= option.units:
                self.left[option.place] -= option.units
                self.step(depth + 1, cost + option.score, [*taken, option])
                self.left[option.place] += option.units
        self.step(depth + 1, cost + UNPLACED, [*taken, None])
