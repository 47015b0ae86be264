"""`make adapter` in a copy of the tree: what it makes passes the contract as it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.new_adapter import make
from tools.part import ROOT

pytestmark = [pytest.mark.feature("B8"), pytest.mark.slow]
COPIED = ("brain", "catalog", "cli", "inference", "kernel", "migrations", "node_agent", "standins")
TESTS = ("__init__.py", "conftest.py", "support", "contract")
FILES = ("pyproject.toml", ".env.example", "alembic.ini")
SECONDS_MAX = 600  # on a machine that is busy with other tests


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    left_out = shutil.ignore_patterns("__pycache__")
    for name in (*COPIED, "tools", *(f"tests/{one}" for one in TESTS)):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=left_out)
        else:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / name)
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_new_adapter_passes_the_contract_and_the_linter(copy: Path) -> None:
    made = [path for path in make("acme", copy) if path.endswith(".py")]
    ruff = str(Path(sys.executable).with_name("ruff"))
    for command in (["check", "--fix", "--quiet"], ["format", "--quiet"]):
        subprocess.run([ruff, *command, *made], cwd=copy, check=True, timeout=SECONDS_MAX)
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    tests = ["-m", "pytest", "-q", "-n", "0", "-k", "acme", "tests/contract/cloud"]
    done = subprocess.run(
        [sys.executable, *tests],
        cwd=copy,
        env=own | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
    assert passed is not None
    assert int(passed[1]) >= 80
