"""The agent's settings, from the environment; the command line overrides them.

Read by msgspec, which the agent has anyway: pydantic would be a sixth of its memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from kernel.errors import BadInput


class EngineKind(StrEnum):
    PROCESS = "process"
    DOCKER = "docker"


class Settings(Struct, frozen=True, kw_only=True):
    """Names are the environment's in lower case, with no prefix."""

    brain_url: Annotated[str, Meta(max_length=500, pattern="^https?://.+")] = (
        "http://127.0.0.1:8000"
    )
    agent_home: Path = Path(".ganglion/agent")
    agent_name: Annotated[str, Meta(max_length=80)] = ""
    join_token: Annotated[str, Meta(max_length=200)] | None = None
    agent_engine: EngineKind = EngineKind.DOCKER
    docker_host: str | None = None
    docker_runtime: str | None = None  # such as runsc, where the host has it
    docker_root: Path = Path("/var/lib/docker")  # whose disk is told of
    simulate_gpus: Annotated[int, Meta(ge=0, le=64)] = 0
    agent_vllm: str = "vllm"
    agent_models_dir: Path | None = None
    agent_stop_work_on_exit: bool = False
    agent_one_lease: bool = False  # a rented machine: end when its lease did
    agent_away_seconds_max: Annotated[int, Meta(ge=1)] = 1200  # of one lease: without the brain
    agent_key_days: Annotated[int, Meta(ge=0, le=3650)] = 30  # then a new key; 0: when asked
    agent_root: Path | None = None  # set by its launcher: where its versions lie
    agent_file: Annotated[str, Meta(max_length=64)] = ""  # and which of them this is
    agent_firewall: bool = True  # keep tenants from this host's network (needs root and iptables)
    agent_pod_capabilities: Annotated[str, Meta(max_length=500)] = (
        "CHOWN,DAC_OVERRIDE,FOWNER,NET_BIND_SERVICE,SETGID,SETUID"
    )
    agent_read_only_workers: bool = False  # a model's container cannot write but in /tmp
    # Development alone, with simulated GPUs: folders of this host, with commas between, that the
    # containers of models see read-only at the same path: an engine's environment, its models.
    agent_engine_mounts: Annotated[str, Meta(max_length=2000)] = ""
    agent_dns: Annotated[str, Meta(max_length=500)] = ""  # of containers; empty: the host's own
    agent_pull_stall_seconds: Annotated[float, Meta(gt=0)] = 120.0  # without a byte
    agent_pull_seconds_max: Annotated[float, Meta(gt=0)] = 3600.0
    agent_disk_reserve_mib: Annotated[int, Meta(ge=0)] = 5120  # without it nothing is pulled
    agent_images_mib_max: Annotated[int, Meta(ge=0)] = 200 * 1024  # of images that nobody uses
    nvml_seconds_max: Annotated[float, Meta(gt=0, le=60)] = 5.0

    def __repr__(self) -> str:
        return f"Settings(brain_url={self.brain_url!r}, agent_home={str(self.agent_home)!r})"

    @property
    def engine_folders(self) -> tuple[str, ...]:
        """``agent_engine_mounts``, or ``BadInput`` where it may not be used or names no folder."""
        folders = [word.strip() for word in self.agent_engine_mounts.split(",") if word.strip()]
        if folders and not self.simulate_gpus:
            raise BadInput(
                "AGENT_ENGINE_MOUNTS is for development: set SIMULATE_GPUS, or unset it."
            )
        for folder in folders:
            path = Path(folder)
            if not path.is_absolute() or path == Path("/") or not path.is_dir() or ":" in folder:
                raise BadInput(f"AGENT_ENGINE_MOUNTS names no folder of this host: {folder}.")
        return tuple(folders)

    @property
    def models(self) -> Path:
        return (self.agent_models_dir or self.agent_home / "models").absolute()


def read(environment: Mapping[str, str], given: Mapping[str, Any]) -> Settings:
    """Settings from both, ``given`` first; an empty variable is one that is not set.

    ``BadInput`` names the setting that is wrong and what it must be.
    """
    names = [field.name for field in msgspec.structs.fields(Settings)]
    found = {name: value for name in names if (value := environment.get(name.upper()))}
    try:
        return msgspec.convert({**found, **given}, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        words, _, place = str(error).partition(" - at ")
        name = re.sub(r"\W", "", place).upper()
        raise BadInput(f"The setting {name} is wrong: {words}.") from None


def _path(kind: type, value: object) -> object:
    assert kind is Path, "the only kind that msgspec does not know itself"
    return Path(str(value))
