"""The fixture that these tests share."""

from tests.support.clouds import sky

__all__ = ["sky"]
