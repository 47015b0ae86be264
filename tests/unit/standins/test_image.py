"""The stand-in's image has the name by which the catalog starts it."""

from __future__ import annotations

from catalog import load_catalog
from standins import image


def test_its_name_is_the_templates() -> None:
    assert load_catalog().get("ganglion/stand-in").start.image == image.NAME
