"""One product without a node beside an emulated RunPod: what it serves runs on rented machines."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installation import Installation, environment, remove
from tests.support.shared import ROOT

HERE = Path(__file__).parent
KEY = "stand-in"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group("second"))


@pytest.fixture(scope="package")
def runpod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a RunPod stand-in whose machines really run."""
    folder = tmp_path_factory.mktemp("runpod")
    command = [sys.executable, "-P", "-m", "cli.main", "stand-in", "runpod", "--port", "0"]
    with (folder / "sky.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--key", KEY, "--home", str(folder / "sky")],
            cwd=ROOT,
            env=environment(folder),
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    yield f"http://127.0.0.1:{ready['port']}"
    process.terminate()
    process.wait(60)


@pytest.fixture(scope="package")
def product(runpod: str, prepared_data: Path) -> Iterator[Installation]:
    folder = Path(tempfile.mkdtemp(prefix="ganglion-test-"))
    found = Installation(folder / "home", data=prepared_data)
    clouds = {
        "USE_MOCK_PROVIDERS": "false",
        "RUNPOD_API_KEY": KEY,
        "RUNPOD_API_BASE_URL": f"{runpod}/v2",
        "RUNPOD_GRAPHQL_URL": f"{runpod}/graphql",
    }
    ready = found.start("--no-node", extra=clouds)
    assert "brain_url" in ready, ready
    yield found
    found.stop()
    remove(folder)
