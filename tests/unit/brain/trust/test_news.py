"""What agents tell between two writes: the first sight of each stage, and what was opened."""

from __future__ import annotations

import msgspec
import pytest

from brain.trust.core.news import News, merged
from kernel.wire.agent import CheckStage, CheckTold

pytestmark = pytest.mark.feature("C6")


def told(stage: CheckStage, reason: str = "") -> CheckTold:
    return CheckTold("check", stage, reason=reason)


def word(news: News) -> CheckTold:
    assert news.told is not None
    return msgspec.json.decode(news.told, type=CheckTold)


def test_a_later_stage_implies_the_ones_before() -> None:
    news = News("check")
    news.take(told(CheckStage.OPENED), 7)
    assert (news.committed_ns, news.recalled_ns, news.opened_ns) == (7, 7, 7)
    news.take(told(CheckStage.OPENED), 9)
    assert news.opened_ns == 7


def test_what_was_opened_is_not_replaced_by_a_word_without_it() -> None:
    news = News("check")
    news.take(told(CheckStage.OPENED, "whole"), 7)
    news.take(told(CheckStage.RECALLED, "in another's turn"), 8)
    assert word(news).reason == "whole"


def test_what_could_not_be_written_keeps_its_times_and_what_was_opened() -> None:
    early, late = News("check", handed_ns=1), News("check", handed_ns=5)
    early.take(told(CheckStage.OPENED, "whole"), 7)
    late.take(told(CheckStage.RECALLED, "later"), 9)
    both = merged({"check": early}, {"check": late, "other": News("other", refused_ns=3)})
    assert (both["check"].handed_ns, both["check"].committed_ns) == (1, 7)
    assert word(both["check"]).reason == "whole"
    assert both["other"].refused_ns == 3
