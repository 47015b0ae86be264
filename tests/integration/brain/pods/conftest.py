"""Fixtures of the pods' tests."""

from tests.support.pods import yard

__all__ = ["yard"]
