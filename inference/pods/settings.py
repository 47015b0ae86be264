"""Every setting of the front, by its environment name; each has a limit or a default."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kernel.errors import BadInput

KIB = 1 << 10
DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9-]{1,63})*\Z")
ADDRESSES = re.compile(r"[0-9a-fA-F:., ]*\Z")


class Settings(BaseSettings):
    """Read once, in ``__main__``."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    brain_url: str = ""
    gateway_token: str = Field(default="", repr=False)
    snapshot_stale_seconds: float = Field(default=600, gt=0)  # with no word from the brain

    # HTTP: <pod>-<port>.<POD_DOMAIN>.
    pod_domain: str = "localhost"
    pod_front_name: str = ""
    pod_front_host: str = "127.0.0.1"
    pod_front_port: int = Field(default=8081, ge=0, le=65535)
    pod_trusted_proxies: str = ""  # addresses whose X-Forwarded-For and -Proto are believed

    pod_connections_max: int = Field(default=4000, ge=1)
    pod_connections_per_address_max: int = Field(default=256, ge=1)
    pod_connections_per_pod_max: int = Field(default=512, ge=1)
    pod_head_bytes_max: int = Field(default=64 * KIB, ge=KIB)
    pod_head_seconds_max: float = Field(default=10, gt=0)
    pod_keepalive_seconds: float = Field(default=60, gt=0)
    pod_link_seconds_max: float = Field(default=10, gt=0)  # to get a link from the pod's node
    pod_first_byte_seconds_max: float = Field(default=300, gt=0)
    pod_idle_seconds_max: float = Field(default=300, gt=0)  # no byte moved while one was due
    pod_tunnel_idle_seconds_max: float = Field(default=3600, gt=0)  # WebSocket without traffic
    pod_drain_seconds: float = Field(default=10, ge=0)

    # SSH: ssh <pod>@<host> -p <SSH_PORT>.
    ssh_host: str = "127.0.0.1"
    ssh_port: int = Field(default=2222, ge=0, le=65535)
    ssh_host_key_dir: Path = Path(".ganglion/front/ssh")
    ssh_connections_max: int = Field(default=1000, ge=1)
    ssh_connections_per_address_max: int = Field(default=32, ge=1)
    ssh_channels_max: int = Field(default=16, ge=1)  # of one connection
    ssh_login_seconds_max: float = Field(default=30, gt=0)
    ssh_login_tries_max: int = Field(default=6, ge=1)
    ssh_failures_per_minute_max: int = Field(default=30, ge=1)  # of one address
    ssh_keepalive_seconds: float = Field(default=30, gt=0)
    ssh_keepalive_count_max: int = Field(default=3, ge=1)

    # Where agents' links come in, and what they are told of it.
    pod_link_host: str = "127.0.0.1"
    pod_link_port: int = Field(default=0, ge=0, le=65535)  # 0: any free one
    pod_link_url: str = Field(default="", max_length=500, pattern=r"^(https?://.+)?$")
    pod_link_certificate: Path | None = None
    pod_link_certificate_key: Path | None = None
    pod_link_lease_max: int = Field(default=1024, ge=8)
    pod_link_ports_max: int = Field(default=64, ge=2)

    @field_validator("pod_domain")
    @classmethod
    def _is_a_domain(cls, value: str) -> str:
        value = value.lower().strip(".")
        if not DOMAIN.match(value) or len(value) > 180:
            raise ValueError("write a domain such as pods.example.com, without port and scheme")
        return value

    @field_validator("pod_trusted_proxies")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        if not ADDRESSES.match(value):
            raise ValueError("write addresses with commas between, such as 127.0.0.1,::1")
        return value

    @cached_property  # each request asks
    def trusted(self) -> frozenset[str]:
        """Addresses of proxies in front of this one."""
        return frozenset(one.strip() for one in self.pod_trusted_proxies.split(",") if one.strip())

    @property
    def name(self) -> str:
        """A stable name of this front for the brain."""
        return self.pod_front_name or f"pods@{self.pod_front_host}:{self.pod_front_port}"


def read() -> Settings:
    """From the environment. ``BadInput`` names the setting that is wrong."""
    try:
        return Settings()
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "A setting"
        raise BadInput(f"{name} is wrong: {first['msg']}.") from None
