"""What each ``make`` begins with, on machines that lack something: a sentence, or it is mended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bare_machine import BareMachine
from tests.support.shared import ROOT
from tests.support.wait import free_port

OFFLINE = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('x')'\n"
    "ERROR: Could not find a version that satisfies the requirement one==1\n"
    "ERROR: No matching distribution found for one==1"
)


@pytest.fixture
def machine(tmp_path: Path) -> BareMachine:
    return BareMachine(tmp_path / "a clone")


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Its one line of error; it failed, and says so."""
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_plain_machine_is_set_up_once(machine: BareMachine) -> None:
    done = machine.set_up()
    assert (done.returncode, done.stderr) == (0, "")
    assert "(1 packages, runtime) ... done in" in done.stdout
    assert os.access(machine.folder / ".venv" / "bin" / "ganglion", os.X_OK)
    again = machine.set_up()
    assert (again.returncode, again.stdout) == (0, "")
    assert machine.calls("-m pip install") == 1


def test_what_the_tests_need_holds_what_a_run_needs(machine: BareMachine) -> None:
    assert machine.set_up("dev").returncode == 0
    assert machine.set_up("runtime").stdout == ""
    (machine.folder / "requirements.lock").write_text("one==2\n")
    assert "done in" in machine.set_up("runtime").stdout


def test_two_at_once_do_the_work_once(machine: BareMachine) -> None:
    both = [machine.begin(), machine.begin()]
    assert [(one.communicate(timeout=240)[1], one.returncode) for one in both] == [("", 0)] * 2
    assert machine.calls("-m pip install") == 1


def test_an_old_python_is_named_with_the_one_that_is_needed(machine: BareMachine) -> None:
    said = sentence(machine.set_up(VERSION="3.10.9"))
    assert "needs Python 3.11 or newer, found Python 3.10.9. Install one" in said
    assert not (machine.folder / ".venv").exists()


def test_a_python_that_was_named_is_the_only_one_that_is_tried(machine: BareMachine) -> None:
    assert "found none" in sentence(machine.set_up(PYTHON="python3.9"))
    assert machine.set_up(PYTHON="python3").returncode == 0


def test_who_is_not_root_is_told_whom_to_ask_for_what(machine: BareMachine) -> None:
    machine.without_venv_module()
    said = sentence(machine.set_up())
    assert "Ask an administrator to run: apt-get install python3.11-venv\n" in said
    assert machine.calls("install") == 0


def test_root_installs_the_missing_module(machine: BareMachine) -> None:
    machine.without_venv_module()
    done = machine.set_up(USER_ID="0", PACKAGES="here")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Installing python3.11-venv ... done\n" in done.stdout
    assert machine.calls("install python3.11-venv") == 1
    assert machine.is_set_up()


def test_a_module_that_cannot_be_installed_is_one_sentence(machine: BareMachine) -> None:
    machine.without_venv_module()
    said = sentence(machine.set_up(USER_ID="0"))
    assert "run apt-get install python3.11-venv yourself" in said


def test_too_little_disk_is_told_before_anything_is_made(machine: BareMachine) -> None:
    said = sentence(machine.set_up(FREE_KIB=str(300 << 10)))
    assert "needs 1 GiB here and 300 MiB is free" in said
    assert not (machine.folder / ".venv").exists()


@pytest.mark.parametrize(
    ("pip_says", "told"),
    [
        (OFFLINE, "failed: the package index does not answer."),
        ("ERROR: [Errno 28] No space left on device", "failed: the disk is full."),
        ("Collecting one\nERROR: the hashes do not match", "failed: ERROR: the hashes do not"),
    ],
    ids=["offline", "full", "other"],
)
def test_why_packages_are_missing_is_one_sentence(
    machine: BareMachine, pip_says: str, told: str
) -> None:
    assert told in sentence(machine.set_up(PIP_SAYS=pip_says))
    assert not machine.is_set_up()
    assert machine.set_up().returncode == 0


@pytest.mark.parametrize("step", ["venv", "pip"])
def test_a_set_up_that_was_killed_is_begun_anew(machine: BareMachine, step: str) -> None:
    assert machine.set_up(DIES_IN=step).returncode != 0
    left = machine.folder / ".venv" / "bin" / "half"
    left.touch()
    assert machine.set_up().returncode == 0
    assert not left.exists()
    assert machine.is_set_up()


def test_a_virtual_environment_without_pip_is_made_anew(machine: BareMachine) -> None:
    assert machine.set_up().returncode == 0
    (machine.folder / ".venv" / "bin" / "pip").unlink()
    (machine.folder / ".venv" / "runtime.stamp").unlink()
    assert machine.set_up().returncode == 0
    assert machine.calls("-m venv") == 2


def test_a_virtual_environment_whose_python_is_gone_is_made_anew(machine: BareMachine) -> None:
    assert machine.set_up().returncode == 0
    python = machine.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.10")
    assert machine.set_up().returncode == 0
    assert machine.calls("-m venv") == 2


@pytest.mark.long
def test_real_pip_before_a_closed_door_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    for name in ("requirements.lock", "requirements-dev.lock", "tools/bootstrap.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    closed = {
        "PYTHON": sys.executable,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"http://127.0.0.1:{free_port()}/simple",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_RETRIES": "1",
    }
    done = subprocess.run(
        [tmp_path / "tools" / "bootstrap.sh"],
        env=kept | closed,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "the package index does not answer" in sentence(done)
