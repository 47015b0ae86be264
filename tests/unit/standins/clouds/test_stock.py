"""Stocks are read strictly: what is wrong is said."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from standins.clouds import runpod
from standins.clouds.stock import Stock, read_stocks

L4 = {"key": "a", "gpu_name": "L4", "capacity": 2, "price_nano": 390_000_000}


def test_a_stock_is_read_with_its_defaults() -> None:
    assert read_stocks([L4]) == (Stock("a", "L4", 2, 390_000_000),)
    assert read_stocks([{**L4, "bid_nano": None, "extra": {"country": "US"}}])[0].bid_nano is None


@pytest.mark.parametrize(
    "given",
    [
        L4,
        ["a"],
        [{"key": "a"}],
        [L4, L4],
        [{**L4, "colour": "red"}],
        [{**L4, "capacity": -1}],
        [{**L4, "capacity": "2"}],
        [{**L4, "price_nano": 0.39}],
        [{**L4, "gpus": 0}],
        [{**L4, "region": 7}],
        [{**L4, "boot_seconds": "soon"}],
    ],
)
def test_nonsense_is_refused_with_words(given: object) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        read_stocks(given)


def test_the_default_stock_can_be_written_down_and_read_again() -> None:
    text = json.dumps([asdict(stock) for stock in runpod.STOCKS])
    assert read_stocks(json.loads(text)) == runpod.STOCKS
