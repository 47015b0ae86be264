"""Fixtures of the secrets' tests."""

from tests.support.deployments import house

__all__ = ["house"]
