"""Every way in which a cloud fails: the class of the error, what was done all the same, and what
the words of the error do not hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from brain.clouds import (
    Broke,
    CloudError,
    CloudRefused,
    CredentialsRefused,
    MachineMissing,
    NothingFree,
    OutcomeUnknown,
    Throttled,
    Unreadable,
)
from tests.contract.cloud.rigs import BOOT, KEY, TAG, TOKEN, Rig

pytestmark = [pytest.mark.feature("B3"), pytest.mark.feature("B4")]
Kinds = tuple[type[CloudError], ...]
READS = ("offers", "listing", "machine")
CALLS = (*READS, "create", "terminate")
UNSURE: Kinds = (OutcomeUnknown, Unreadable)


@dataclass(frozen=True)
class Case:
    """A fault, what it is to the caller, and how the fake cloud names it ("": it cannot)."""

    kind: str
    errors: Kinds
    fake: str
    how: dict[str, Any] = field(default_factory=dict)
    title: str = ""

    def __str__(self) -> str:
        return self.title or self.kind


ANY_CALL = (
    Case("throttled", (Throttled,), "throttled"),
    Case("throttled", (Throttled,), "", {"retry_after": 90.0}, "throttled-with-time"),
    Case("broken", (OutcomeUnknown,), "cut"),
    Case("broken", (OutcomeUnknown,), "", {"status": 503}, "broken-503"),
    Case("silent", (OutcomeUnknown,), "cut"),
    Case("cut", (OutcomeUnknown,), "cut"),
    Case("html", (Unreadable,), "unreadable", {"status": 200}),
    Case("html", (Unreadable,), "", {"status": 404}, "html-404"),
    Case("html", (Unreadable,), "", {"status": 401}, "html-401"),
    Case("huge", (Unreadable,), "unreadable", {"bytes": 17_000_000}),
    Case("unauthorized", (CredentialsRefused,), "credentials"),
)
AT_CREATE = (
    Case("no_capacity", (NothingFree,), "no_capacity"),
    Case("no_balance", (Broke,), "broke"),
    Case("account_limit", (Broke,), ""),
    Case("forbidden", (CredentialsRefused, Broke, NothingFree), ""),
    Case("bad_request", (CloudRefused, NothingFree), "refused"),
    Case("garbled", (Unreadable,), "unreadable"),
)
# The work is done, and the answer says nothing.
AFTER_CREATE = (
    Case("broken", UNSURE, "lost", {"when": "after"}),
    Case("silent", UNSURE, "lost", {"when": "after"}),
    Case("cut", UNSURE, "lost", {"when": "after"}),
    Case("html", UNSURE, "unreadable", {"when": "after", "status": 200}),
    Case("huge", UNSURE, "unreadable", {"when": "after", "bytes": 17_000_000}),
    Case("half", UNSURE, "lost"),
)


def ids(cases: tuple[Case, ...]) -> list[str]:
    return [str(case) for case in cases]


def meet(rig: Rig, case: Case, call: str, *, times: int = 0) -> None:
    if rig.world is not None:
        rig.fail(case.kind, call, times=times, **case.how)
    elif case.fake:
        rig.fail(case.fake, call, times=times)
    else:
        pytest.skip("the fake cloud does not fail like this")


def silent_about_secrets(wrong: CloudError) -> None:
    told = f"{wrong!r} {wrong} {wrong.detail} {wrong.code} {wrong.__cause__!r}"
    for secret in (KEY, TOKEN, BOOT.script.strip()):
        assert secret not in told
    assert len(wrong.detail) <= 300


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", ANY_CALL, ids=ids(ANY_CALL))
async def test_a_fault_has_its_class_in_every_call(rig: Rig, case: Case, call: str) -> None:
    machine = (await rig.rent()).machine_id if call in {"machine", "terminate"} else ""
    meet(rig, case, call)
    if call == "create":
        wrong = await rig.wrong(rig.rent())
    elif machine:
        wrong = await rig.wrong(getattr(rig.cloud, call)(machine))
    else:
        wrong = await rig.wrong(getattr(rig.cloud, call)())
    assert isinstance(wrong, case.errors), repr(wrong)
    silent_about_secrets(wrong)
    if isinstance(wrong, Throttled):
        assert 0 < wrong.retry_after <= 86_400


@pytest.mark.parametrize("case", AT_CREATE, ids=ids(AT_CREATE))
async def test_a_refused_order_has_its_class_and_makes_nothing(rig: Rig, case: Case) -> None:
    meet(rig, case, "create", times=1)
    wrong = await rig.wrong(rig.rent())
    assert isinstance(wrong, case.errors), repr(wrong)
    silent_about_secrets(wrong)
    rig.settle()
    if case.fake != "unreadable":
        assert await rig.run(rig.cloud.find_by_tag(TAG)) == []


@pytest.mark.parametrize("case", AFTER_CREATE, ids=ids(AFTER_CREATE))
async def test_an_order_whose_answer_is_lost_is_found_by_its_tag(rig: Rig, case: Case) -> None:
    meet(rig, case, "create", times=1)
    wrong = await rig.wrong(rig.rent())
    assert isinstance(wrong, UNSURE), repr(wrong)
    silent_about_secrets(wrong)
    rig.settle()
    assert len(await rig.run(rig.cloud.find_by_tag(TAG))) == 1
    assert rig.world is None or rig.world.calls["create"] == 1, "an order is never repeated"


@pytest.mark.parametrize("call", [*READS, "terminate"])
@pytest.mark.parametrize("kind", ["throttled", "broken", "cut"])
async def test_what_may_be_repeated_survives_one_fault(rig: Rig, kind: str, call: str) -> None:
    if rig.world is None:
        pytest.skip("the fake cloud is near: nothing is repeated")
    machine = (await rig.rent()).machine_id
    rig.settle()
    rig.fail(kind, call)
    arguments = (machine,) if call in {"machine", "terminate"} else ()
    await rig.run(getattr(rig.cloud, call)(*arguments))
    assert not rig.world.faults.left()


@pytest.mark.parametrize("kind", ["garbled", "partial"])
async def test_half_a_listing_is_never_told_as_a_whole(rig: Rig, kind: str) -> None:
    await rig.rent()
    rig.settle()
    if rig.world is None:
        rig.fail("partial", "listing", times=0)
    elif kind == "partial":
        pytest.skip("rows that are left out without a word cannot be seen from one answer")
    else:
        rig.fail(kind, "listing", times=0)
    try:
        listing = await rig.run(rig.cloud.listing())
    except Unreadable:
        pass
    else:
        assert not listing.complete
        assert listing.why_incomplete
    assert isinstance(await rig.wrong(rig.cloud.find_by_tag(TAG)), Unreadable)


async def test_no_such_machine_once_is_told_as_such(rig: Rig) -> None:
    machine = (await rig.rent()).machine_id
    rig.settle()
    for call in ("machine", "terminate"):
        rig.fail("missing", call)
        assert isinstance(await rig.wrong(getattr(rig.cloud, call)(machine)), MachineMissing)
    assert (await rig.run(rig.cloud.machine(machine))).tag == TAG


async def test_a_clock_an_hour_off_changes_nothing(rig: Rig) -> None:
    if rig.world is None:
        pytest.skip("the fake cloud has no clock of its own")
    made = await rig.rent()
    rig.settle()
    for seconds in (3600.0, -3600.0):
        rig.fail("clock_off", "listing", seconds=seconds)
        listing = await rig.run(rig.cloud.listing())
        assert [one.machine_id for one in listing.machines] == [made.machine_id]
