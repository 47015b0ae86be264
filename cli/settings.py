"""The settings of the command and of its supervisor, each read from the variable of its name."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cli.faults import CliError

CLONE = Path(__file__).resolve().parents[1]


class RunnerSettings(BaseSettings):
    """An empty variable counts as not set."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")

    ganglion_home: Path | None = Field(default=None, description="Data, logs, secrets.")
    database_url: str | None = Field(default=None, description="None: an embedded PostgreSQL.")
    redis_url: str | None = Field(default=None, description="None: an embedded Valkey.")
    brain_url: str | None = Field(default=None, description="Where the commands find the brain.")
    brain_host: str = "127.0.0.1"
    brain_port: int = Field(default=8000, ge=0, le=65535, description="0: any free one.")
    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=8080, ge=0, le=65535, description="0: any free one.")
    pod_front_host: str = "127.0.0.1"
    pod_front_port: int = Field(default=8081, ge=0, le=65535, description="0: any free one.")
    ssh_host: str = "127.0.0.1"
    ssh_port: int = Field(default=2222, ge=0, le=65535, description="0: any free one.")
    simulate_gpus: int | None = Field(
        default=None, ge=0, le=64, description="None: simulated where the machine has no GPU."
    )
    local_node: bool = Field(default=True, description="Start a node agent beside the brain.")

    @property
    def home(self) -> Path:
        """``GANGLION_HOME``, or ``.ganglion`` in the clone (elsewhere: in this folder)."""
        if self.ganglion_home is not None:
            return self.ganglion_home.expanduser().absolute()
        base = CLONE if (CLONE / "pyproject.toml").exists() else Path.cwd()
        return base / ".ganglion"


def load() -> RunnerSettings:
    """The settings, or one sentence that names the wrong variable."""
    try:
        return RunnerSettings()
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "A setting"
        raise CliError(f"{name} is wrong: {first['msg']}.", f"Mend or unset {name}.") from None
