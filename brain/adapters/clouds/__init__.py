"""Rented clouds: a folder and a registration for each. See docs/adding-a-cloud.md."""

from brain.adapters.clouds.registry import open_clouds
from brain.adapters.clouds.settings import CloudSettings

__all__ = ["CloudSettings", "open_clouds"]
