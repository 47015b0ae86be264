"""The agent's file unpacks itself: the right wheels, whole or not at all, nothing outside."""

from __future__ import annotations

import io
import platform
import sys
import zipfile
from pathlib import Path

import pytest

from brain.marketplace.agent_file import agent_sources, pack, stored
from node_agent.unpack import CannotUnpack, choose, unpack

pytestmark = pytest.mark.feature("C1")
OWN = f"cp3{sys.version_info[1]}"
MACHINE = platform.machine()


def test_each_needed_wheel_is_the_one_that_fits() -> None:
    fitting = f"msgspec-1-{OWN}-{OWN}-manylinux_2_17_{MACHINE}.manylinux2014_{MACHINE}.whl"
    wheels = [
        "idna-3-py3-none-any.whl",
        fitting,
        f"msgspec-1-cp399-cp399-manylinux_2_17_{MACHINE}.whl",
        f"msgspec-1-{OWN}-{OWN}-manylinux_2_17_other.whl",
        f"psutil-7-cp36-abi3-manylinux_2_12_{MACHINE}.whl",
    ]
    assert choose(wheels, ["idna", "msgspec", "psutil"]) == [wheels[0], fitting, wheels[4]]


@pytest.mark.parametrize(
    "wheel",
    [
        f"msgspec-1-cp310-cp310-manylinux_2_17_{MACHINE}.whl",
        f"msgspec-1-{OWN}-{OWN}-manylinux_2_17_s390x.whl",
        f"msgspec-1-{OWN}-{OWN}-win_amd64.whl",
        f"msgspec-1-cp399-abi3-manylinux_2_17_{MACHINE}.whl",
        f"msgspec-1-{OWN}-{OWN}-musllinux_1_2_{MACHINE}.whl",
    ],
)
def test_a_machine_that_is_not_served_is_told_so(wheel: str) -> None:
    with pytest.raises(CannotUnpack, match="no wheel of msgspec fits"):
        choose([wheel], ["msgspec"])


def test_it_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    wheel = stored({"idna/__init__.py": b"x = 1\n"})
    made = pack(agent_sources(), {"idna-3-py3-none-any.whl": wheel}, "1")
    file = tmp_path / "agent.pyz"
    file.write_bytes(made.content)
    (tmp_path / "versions" / ".left-by-a-death").mkdir(parents=True)
    folder = unpack(file, tmp_path, made.sha256)
    assert [path.name for path in (tmp_path / "versions").iterdir()] == [made.sha256]
    assert (folder / "lib" / "idna" / "__init__.py").read_text() == "x = 1\n"
    assert (folder / "lib" / "node_agent" / "main.py").is_file()
    assert unpack(file, tmp_path, made.sha256) == folder


def test_another_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    file = tmp_path / "agent.pyz"
    file.write_bytes(b"anything")
    with pytest.raises(CannotUnpack, match="SHA-256 differs"):
        unpack(file, tmp_path, "0" * 64)
    assert not (tmp_path / "versions").exists()


def test_a_name_that_leads_outside_is_refused(tmp_path: Path) -> None:
    evil = io.BytesIO()
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("../../../escaped.py", "x")
    made = pack(agent_sources(), {"idna-3-py3-none-any.whl": evil.getvalue()}, "1")
    file = tmp_path / "agent.pyz"
    file.write_bytes(made.content)
    with pytest.raises(CannotUnpack, match="leads outside"):
        unpack(file, tmp_path / "root", made.sha256)
    assert list(tmp_path.rglob("escaped.py")) == []
    assert list((tmp_path / "root" / "versions").iterdir()) == []
