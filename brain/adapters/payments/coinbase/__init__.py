"""Crypto top-ups: Coinbase Business Checkouts behind the ports of payments."""

from brain.adapters.payments.coinbase.collector import CoinbaseCollector, CoinbaseHints
from brain.adapters.payments.coinbase.http import CoinbaseHttp, CoinbaseKey, read_key
from brain.adapters.payments.coinbase.settings import CoinbaseSettings

__all__ = [
    "CoinbaseCollector",
    "CoinbaseHints",
    "CoinbaseHttp",
    "CoinbaseKey",
    "CoinbaseSettings",
    "read_key",
]
