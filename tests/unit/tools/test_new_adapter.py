"""`make adapter`: what it refuses, and that a refusal leaves the tree as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools import new_adapter
from tools.new_adapter import CannotMake, make
from tools.part import ROOT

pytestmark = pytest.mark.feature("B8")
EDITED = new_adapter._lines(new_adapter._words("acme"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A clone as far as it is edited."""
    for path in EDITED:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


def test_a_cloud_is_written_and_registered_once(tree: Path) -> None:
    made = make("acme", tree)
    assert all((tree / path).exists() for path in made)
    assert 'acme = "brain.adapters.clouds.acme:open_cloud"' in (tree / "pyproject.toml").read_text()
    assert "$" not in (tree / "brain/adapters/clouds/acme/cloud.py").read_text()
    with pytest.raises(CannotMake, match="there already"):
        make("acme", tree)


def test_a_name_that_is_pythons_gets_a_package_that_is_not(tree: Path) -> None:
    assert "brain/adapters/clouds/yield_/cloud.py" in make("yield", tree)


@pytest.mark.parametrize("name", ["", "A", "a", "a b", "../x", "x-y", "x" * 31])
def test_a_name_that_fits_no_package_is_refused(tree: Path, name: str) -> None:
    with pytest.raises(CannotMake, match="make adapter NAME="):
        make(name, tree)


def test_a_place_that_is_not_found_leaves_everything_as_it_was(tree: Path) -> None:
    (tree / "standins/clouds/serve.py").write_text("CLOUDS = dict()\n")
    with pytest.raises(CannotMake, match=r"serve\.py"):
        make("acme", tree)
    assert not (tree / "brain/adapters/clouds/acme").exists()
    assert "acme" not in (tree / "pyproject.toml").read_text()
