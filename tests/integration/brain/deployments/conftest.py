"""Fixtures of the deployments' tests."""

from tests.support.deployments import house

__all__ = ["house"]
