"""The table of pods under any order of changes, and who hears of a run's end."""

from __future__ import annotations

import pytest

from inference.pods.keys import holds
from inference.pods.limits import Counts, Failures
from inference.pods.table import Pods, Run, run_of
from kernel.clock import ManualClock
from kernel.wire.digest import snapshot_digest
from kernel.wire.gateway import ChangeLine, PodState, Snapshot
from tests.support.gateway import numbered
from tests.support.pod_front import pod_row

pytestmark = pytest.mark.feature("E3")


def pods(*rows: object) -> Pods:
    table = Pods()
    table.apply(ChangeLine(snapshot=Snapshot(pods=list(rows))))  # type: ignore[arg-type]
    return table


def test_a_pod_is_found_by_slug_and_by_id() -> None:
    table = pods(pod_row("one", 1), pod_row("two", 2))
    row = table.by_slug("two")
    assert row is not None
    assert table.by_user(row.pod_id) is row
    assert table.by_user("three") is None


def test_a_snapshot_takes_away_what_it_does_not_name() -> None:
    table = pods(pod_row("one", 1), pod_row("two", 2))
    table.apply(ChangeLine(snapshot=Snapshot(pods=[pod_row("two", 2)])))
    assert table.by_slug("one") is None
    assert table.digest() == snapshot_digest(Snapshot(pods=[pod_row("two", 2)]))


def test_a_slug_that_went_to_another_pod_stays_with_that() -> None:
    table = pods(pod_row("name", 1))
    table.apply(ChangeLine(pod=pod_row("name", 2)))
    table.apply(ChangeLine(drop_pod=numbered("pod", 1)))
    row = table.by_slug("name")
    assert row is not None
    assert row.pod_id == numbered("pod", 2)


def test_an_older_epoch_of_the_same_lease_is_ignored() -> None:
    table = pods(pod_row(epoch=5))
    table.apply(ChangeLine(pod=pod_row(epoch=4)))
    assert [run.epoch for run in table.runs()] == [5]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (ChangeLine(drop_pod=numbered("pod", 1)), "terminated"),
        (ChangeLine(pod=pod_row(epoch=2)), "moved"),
        (ChangeLine(pod=pod_row(lease_id=numbered("lease", 9))), "moved"),
        (ChangeLine(pod=pod_row(state=PodState.STOPPED, reason="No credit.")), "No credit"),
        (ChangeLine(snapshot=Snapshot()), "terminated"),
    ],
)
def test_the_end_of_a_run_is_told_once_with_its_reason(line: ChangeLine, words: str) -> None:
    table, told = pods(pod_row()), []
    run = run_of(pod_row())
    assert run is not None
    table.watch(run, told.append)
    leave = table.watch(run, told.append)
    leave()
    table.apply(ChangeLine(pod=pod_row(ports=[1, 2])))  # the same run
    assert told == []
    table.apply(line)
    table.apply(line)
    assert len(told) == 1
    assert words in told[0]


def test_a_pod_without_a_lease_has_no_run() -> None:
    assert run_of(pod_row(lease_id="")) is None
    assert run_of(pod_row()) == Run(numbered("pod", 1), numbered("lease", 1), 1)


def test_counts_hold_their_maximum_and_forget_names() -> None:
    counts = Counts(2)
    assert [counts.take("a") for _ in range(3)] == [True, True, False]
    assert counts.take("b")
    counts.give("a")
    assert counts.take("a")
    assert counts.total == 3


def test_failures_are_forgiven_after_a_minute() -> None:
    clock = ManualClock()
    failures = Failures(2, clock.monotonic_ns)
    failures.add("a")
    assert not failures.too_many("a")
    failures.add("a")
    assert failures.too_many("a")
    clock.advance(60)
    assert not failures.too_many("a")


KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIB" + "A" * 42


def test_plain_lines_alone_let_a_key_in() -> None:
    import base64

    blob = base64.b64decode(KEY)
    assert holds([f"ssh-ed25519 {KEY} me@home"], blob)
    assert not holds([f"ssh-ed25519 {KEY}"], blob[:-1] + b"x")
    assert not holds([], blob)
    for line in ("", "ssh-ed25519", f'command="x" ssh-ed25519 {KEY}', f"cert-authority {KEY}"):
        assert not holds([line], blob)
    assert not holds([f"ssh-ed25519-cert-v01@openssh.com {KEY}", "ssh-ed25519 ä"], blob)
