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
from tests.contract.cloud.rigs import BOOT, EMULATED, KEY, RIGS, TAG, TOKEN, Rig

pytestmark = [
    pytest.mark.feature("B1"),
    pytest.mark.feature("B2"),
    pytest.mark.feature("B3"),
    pytest.mark.feature("B4"),
    pytest.mark.feature("B7"),
]
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


def met_by(cases: tuple[Case, ...]) -> pytest.MarkDecorator:
    """Each rig with each case that it can have."""
    pairs = [
        pytest.param(name, case, id=f"{name}-{case}")
        for name in sorted(RIGS)
        for case in cases
        if name in EMULATED or case.fake
    ]
    return pytest.mark.parametrize(("rig", "case"), pairs, indirect=["rig"])


def meet(rig: Rig, case: Case, call: str, *, times: int = 0) -> None:
    if rig.world is None:
        rig.fail(case.fake, call, times=times)
    else:
        rig.fail(case.kind, call, times=times, **case.how)


def silent_about_secrets(wrong: CloudError) -> None:
    told = f"{wrong!r} {wrong} {wrong.detail} {wrong.code} {wrong.__cause__!r}"
    for secret in (KEY, TOKEN, BOOT.script.strip()):
        assert secret not in told
    assert len(wrong.detail) <= 300


@pytest.mark.parametrize("call", CALLS)
@met_by(ANY_CALL)
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


@met_by(AT_CREATE)
async def test_a_refused_order_has_its_class_and_makes_nothing(rig: Rig, case: Case) -> None:
    meet(rig, case, "create", times=1)
    wrong = await rig.wrong(rig.rent())
    assert isinstance(wrong, case.errors), repr(wrong)
    silent_about_secrets(wrong)
    rig.settle()
    if case.fake != "unreadable":
        assert await rig.run(rig.cloud.find_by_tag(TAG)) == []


@met_by(AFTER_CREATE)
async def test_an_order_whose_answer_is_lost_is_found_by_its_tag(rig: Rig, case: Case) -> None:
    meet(rig, case, "create", times=1)
    wrong = await rig.wrong(rig.rent())
    assert isinstance(wrong, UNSURE), repr(wrong)
    silent_about_secrets(wrong)
    rig.settle()
    assert len(await rig.run(rig.cloud.find_by_tag(TAG))) == 1
    assert rig.world is None or rig.world.calls["create"] == 1, "an order is never repeated"


@pytest.mark.parametrize("rig", EMULATED, indirect=True)
@pytest.mark.parametrize("call", [*READS, "terminate"])
@pytest.mark.parametrize("kind", ["throttled", "broken", "cut"])
async def test_what_may_be_repeated_survives_one_fault(rig: Rig, kind: str, call: str) -> None:
    assert rig.world is not None
    machine = (await rig.rent()).machine_id
    rig.settle()
    rig.fail(kind, call)
    arguments = (machine,) if call in {"machine", "terminate"} else ()
    await rig.run(getattr(rig.cloud, call)(*arguments))
    assert not rig.world.faults.left()


async def test_half_a_listing_is_never_told_as_a_whole(rig: Rig) -> None:
    await rig.rent()
    rig.settle()
    rig.fail("partial" if rig.world is None else "garbled", "listing", times=0)
    try:
        listing = await rig.run(rig.cloud.listing())
    except Unreadable:
        pass
    else:
        assert not listing.complete
        assert listing.why_incomplete
    assert isinstance(await rig.wrong(rig.cloud.find_by_tag(TAG)), Unreadable)


@pytest.mark.parametrize("rig", EMULATED, indirect=True)
async def test_a_row_that_cannot_be_read_makes_half_a_listing(rig: Rig) -> None:
    spoiled = await rig.rent()
    rig.settle()
    whole = await rig.rent(f"{TAG}2")
    rig.settle()
    assert rig.spoiler is not None
    rig.spoiler.spoiled_id = spoiled.machine_id
    listing = await rig.run(rig.cloud.listing())
    assert not listing.complete
    assert {one.machine_id for one in listing.machines} <= {whole.machine_id}
    assert isinstance(await rig.wrong(rig.cloud.find_by_tag(TAG)), Unreadable)


@pytest.mark.parametrize("rig", EMULATED, indirect=True)
async def test_a_wrong_address_is_never_a_missing_machine(rig: Rig) -> None:
    machine = (await rig.rent()).machine_id
    rig.settle()
    assert rig.spoiler is not None
    rig.spoiler.elsewhere = True
    cloud = rig.cloud
    calls = (cloud.machine(machine), cloud.terminate(machine), cloud.listing(), cloud.offers())
    for call in (*calls, cloud.find_by_tag(TAG)):
        assert not isinstance(await rig.wrong(call), MachineMissing)
    assert isinstance(await rig.wrong(cloud.listing()), Unreadable)


async def test_no_such_machine_once_is_told_as_such(rig: Rig) -> None:
    machine = (await rig.rent()).machine_id
    rig.settle()
    for call in ("machine", "terminate"):
        rig.fail("missing", call)
        assert isinstance(await rig.wrong(getattr(rig.cloud, call)(machine)), MachineMissing)
    assert (await rig.run(rig.cloud.machine(machine))).tag == TAG


@pytest.mark.parametrize("rig", EMULATED, indirect=True)
async def test_a_clock_an_hour_off_changes_nothing(rig: Rig) -> None:
    made = await rig.rent()
    rig.settle()
    for seconds in (3600.0, -3600.0):
        rig.fail("clock_off", "listing", seconds=seconds)
        listing = await rig.run(rig.cloud.listing())
        assert [one.machine_id for one in listing.machines] == [made.machine_id]
