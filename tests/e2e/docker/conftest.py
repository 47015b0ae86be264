"""One product whose node runs containers, for all that is shown of pods and engines in Docker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.support.dockerd import ANSWER_SECONDS_MAX
from tests.support.installation import Installation, remove
from tests.support.vllm_image import engine_folders
from tests.support.worker_image import busybox_image
from tools import parts, vllm_part

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group("vllm"))  # after it: two cores hold no more


@pytest.fixture(scope="package")
def product(dockerd: str, prepared_data: Path) -> Iterator[Installation]:
    """Its engine finds vLLM's folders, where they are here, and mounts them read-only."""
    client = docker.APIClient(base_url=dockerd, version="auto", timeout=ANSWER_SECONDS_MAX)
    busybox_image(client)
    client.close()
    settings = {}
    if not parts.why_missing("vllm"):
        settings["AGENT_ENGINE_MOUNTS"] = ",".join(engine_folders())
        settings["AGENT_MODELS_DIR"] = str(vllm_part.MODELS.resolve())
    folder = Path(tempfile.mkdtemp(prefix="ganglion-test-"))
    found = Installation(folder / "home", data=prepared_data)
    found.start_with_docker(dockerd, **settings)
    yield found
    found.stop()
    remove(folder)
