"""The install script and the agent's file: whole, clean, and of nothing but what they should."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from brain.marketplace import install
from brain.marketplace.agent_file import (
    NEEDED,
    AgentFile,
    agent_file,
    agent_sources,
    installed_wheels,
    pack,
    served,
)
from kernel.errors import Unavailable

pytestmark = pytest.mark.feature("C1")
ROOT = Path(__file__).resolve().parents[4]
URL = "https://brain.example"


def script(file: AgentFile | None = None) -> str:
    return install.render(
        file or AgentFile(b"", "f" * 64, "1.2", ("cp311-x86_64",)),
        brain_url=f"{URL}/",
        installation_id="it's; here",
    )


@pytest.mark.slow
def test_the_script_is_clean_for_shellcheck(tmp_path: Path) -> None:
    made = tmp_path / "install.sh"
    made.write_text(script())
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [shellcheck, "--shell=sh", "--severity=style", made],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    functions = script().rpartition('main "$@"')[0]
    unit = subprocess.run(
        ["sh", "-c", f"{functions}\nPY=/bin/true; unit_text"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    (tmp_path / "ganglion-agent.service").write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "ganglion-agent.service"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    own = [line for line in done.stderr.splitlines() if "ganglion" in line]
    assert own == []
    assert {"Restart=always", "KillMode=process", "NoNewPrivileges=yes"} <= set(unit.splitlines())


def test_facts_are_quoted_words_and_none_is_left_out() -> None:
    text = script()
    assert "@@" not in text
    assert f"\nBRAIN_URL={URL}\n" in text
    assert "\nINSTALLATION_ID='it'\"'\"'s; here'\n" in text
    assert f"\nAGENT_SHA256={'f' * 64}\n" in text


def test_each_part_of_the_script_fits_on_its_pages() -> None:
    long = {name: n for name in install.ORDER if (n := _lines(install.FOLDER / name)) > 400}
    assert not long
    assert {path.name for path in install.FOLDER.iterdir()} == set(install.ORDER)


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_the_token_is_in_no_address_and_in_no_argument() -> None:
    for command in install.commands(URL, "gj_secret").values():
        fetch, start = command.split(" | ")
        assert "gj_secret" not in fetch
        assert start == "JOIN_TOKEN=gj_secret sh"
    assert "gj_" not in script()


def test_every_check_is_in_the_guide_with_its_remedy() -> None:
    codes = set(re.findall(r"note (?:ok|warn|fail) ([A-Z]+)", script()))
    guide = (ROOT / "docs" / "providers.md").read_text()
    told = set(re.findall(r"^\| `([A-Z]+)` \|", guide, re.MULTILINE))
    assert codes == told


def test_the_file_brings_all_that_its_libraries_ask_for() -> None:
    asked = set()
    for name in NEEDED:
        for line in metadata.distribution(name).requires or []:
            requirement, _, marker = line.partition(";")
            if "extra" in marker or "win32" in marker or "python_version <" in marker:
                continue
            if "python_full_version <" in marker:
                continue
            asked.add(re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("-", "_"))
    assert asked - set(NEEDED) == set()


@pytest.mark.slow
def test_the_agent_runs_from_its_file_with_nothing_else(tmp_path: Path) -> None:
    made = agent_file()
    (tmp_path / "agent.pyz").write_bytes(made.content)
    unpacked = subprocess.run(
        [sys.executable, "-I", tmp_path / "agent.pyz", "unpack", tmp_path, made.sha256],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout.strip()
    walk = (
        "import importlib, pkgutil, node_agent, docker, pynvml, cryptography\n"
        "for m in pkgutil.walk_packages(node_agent.__path__, 'node_agent.'):\n"
        "    importlib.import_module(m.name)\n"
        "import standins.worker.app\n"
        "print(docker.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", walk],
        env={"PYTHONPATH": f"{unpacked}/lib"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(unpacked)
    assert len(made.content) < 16 << 20


def test_the_file_is_the_same_bytes_each_time() -> None:
    wheels = {"idna-1-py3-none-any.whl": b"x"}
    first = pack(agent_sources(), wheels, "1")
    assert pack(agent_sources(), wheels, "1") == first
    names = zipfile.ZipFile(io.BytesIO(first.content)).namelist()
    assert {name.split("/")[1] for name in names if name.startswith("code/")} == {
        "kernel",
        "node_agent",
        "standins",
    }
    changed = agent_sources() | {"kernel/__init__.py": b"# other"}
    assert pack(changed, wheels, "1").sha256 != first.sha256


@pytest.mark.slow
def test_platforms_are_those_for_which_every_wheel_is_there() -> None:
    wheels = [
        "idna-1-py3-none-any.whl",
        "cryptography-1-cp311-abi3-manylinux_2_34_x86_64.whl",
        "msgspec-1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "msgspec-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "msgspec-1-cp312-cp312-manylinux_2_28_aarch64.whl",
    ]
    assert served(wheels) == ["cp311-x86_64", "cp312-x86_64"]
    assert served(installed_wheels()) == [f"cp3{sys.version_info[1]}-x86_64"]


def test_a_folder_without_all_wheels_is_named(tmp_path: Path) -> None:
    (tmp_path / "idna-3-py3-none-any.whl").write_bytes(b"x")
    with pytest.raises(Unavailable, match="cryptography"):
        agent_file(str(tmp_path))
