"""The agent's settings, from the environment; the command line overrides them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class EngineKind(StrEnum):
    PROCESS = "process"
    DOCKER = "docker"


class Settings(BaseSettings):
    """Names are the environment's, with no prefix."""

    model_config = SettingsConfigDict(extra="ignore")

    brain_url: str = Field(default="http://127.0.0.1:8000", max_length=500)
    agent_home: Path = Path(".ganglion/agent")
    agent_name: str = Field(default="", max_length=80)
    join_token: str | None = Field(default=None, max_length=200, repr=False)
    agent_engine: EngineKind = EngineKind.DOCKER
    docker_host: str | None = None
    docker_runtime: str | None = None  # such as runsc, where the host has it
    simulate_gpus: int = Field(default=0, ge=0, le=64)
    agent_vllm: str = "vllm"
    agent_models_dir: Path | None = None
    agent_stop_work_on_exit: bool = False
    nvml_seconds_max: float = Field(default=5.0, gt=0, le=60)

    @field_validator("brain_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @property
    def models(self) -> Path:
        return (self.agent_models_dir or self.agent_home / "models").absolute()
