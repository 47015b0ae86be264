"""Every setting of the gateway, by its environment name; each has a limit or a default."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from inference.link_listener import LinkTerms
from kernel.errors import BadInput

MIB = 1 << 20


class Settings(BaseSettings):
    """Read once, in ``app.py``. An empty ``BRAIN_URL`` means: run alone, from ``--snapshot``."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    brain_url: str = ""
    gateway_token: str = Field(default="", repr=False)
    gateway_name: str = ""
    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=8080, ge=0, le=65535)
    gateway_reuse_port: bool = False
    # Several processes share the port (docs/gateway.md); 0: one a core. With ``gateway_own_port``
    # each has one of its own on loopback as well, from that number on, for its metrics and health.
    gateway_processes: int = Field(default=1, ge=0, le=256)
    gateway_own_port: int = Field(default=0, ge=0, le=65000)
    gateway_spool_dir: Path = Path(".ganglion/gateway/spool")
    snapshot_stale_seconds: float = Field(default=600, gt=0)

    # Where agents' links come in, and what they are told of it (docs/gateway.md, "Links").
    gateway_link_host: str = "127.0.0.1"
    gateway_link_port: int = Field(default=0, ge=0, le=65535)
    gateway_link_url: str = Field(default="", max_length=500, pattern=r"^(https?://.+)?$")
    gateway_link_certificate: Path | None = None
    gateway_link_certificate_key: Path | None = None
    gateway_link_lease_max: int = Field(default=1024, ge=8)
    gateway_link_address_max: int = Field(default=8192, ge=8)
    gateway_link_unverified_max: int = Field(default=1024, ge=8)

    # What a client may send, and how slowly.
    gateway_connections_max: int = Field(default=10_000, ge=1)
    gateway_body_bytes_max: int = Field(default=8 * MIB, ge=1024)
    gateway_upload_bytes_max: int = Field(default=128 * MIB, ge=1024)
    gateway_upload_spill_bytes_max: int = Field(default=1024 * MIB, ge=0)
    gateway_head_bytes_max: int = Field(default=64 * 1024, ge=1024)
    gateway_head_seconds_max: float = Field(default=10, gt=0)
    gateway_body_seconds_max: float = Field(default=60, gt=0)
    gateway_keepalive_seconds: float = Field(default=75, gt=0)

    # How long a worker may take: to accept, to begin, between pieces, in all.
    gateway_connect_seconds_max: float = Field(default=3, gt=0)
    gateway_first_byte_seconds_max: float = Field(default=300, gt=0)
    gateway_idle_seconds_max: float = Field(default=60, gt=0)
    gateway_total_seconds_max: float = Field(default=3600, gt=0)
    gateway_tries_max: int = Field(default=3, ge=1, le=10)
    gateway_link_idle_seconds: float = Field(default=4, gt=0)  # vLLM's own keep-alive is 5

    # WebSockets: how many, how much of a message and of sound, how fast, how long.
    gateway_socket_max: int = Field(default=500, ge=1)
    gateway_socket_message_bytes_max: int = Field(default=MIB, ge=4096)
    gateway_socket_messages_per_second_max: int = Field(default=200, ge=1)
    gateway_socket_sound_seconds_max: float = Field(default=120, gt=0, le=600)
    gateway_socket_sound_bytes_max: int = Field(default=64 * MIB, ge=MIB)
    gateway_socket_leg_seconds_max: float = Field(default=60, gt=0)
    gateway_socket_ping_seconds: float = Field(default=20, gt=0)
    gateway_socket_idle_seconds_max: float = Field(default=600, gt=0)
    gateway_socket_total_seconds_max: float = Field(default=3600, gt=0)

    # Requests that wait for a worker: how long for one that sleeps or starts, how long for one of
    # those that are all busy (0: not at all); how many, how much of them.
    gateway_wait_seconds_max: float = Field(default=300, ge=0)
    gateway_queue_seconds_max: float = Field(default=30, ge=0)
    gateway_wait_requests_max: int = Field(default=1000, ge=0)
    gateway_wait_bytes_max: int = Field(default=64 * MIB, ge=0)

    # How often a worker of a deployment that follows its load is asked how full it is; 0: never.
    gateway_worker_metrics_seconds: float = Field(default=5, ge=0, le=600)

    # How long a request joins one with the same Idempotency-Key; whether each is traced.
    gateway_replay_wait_seconds: float = Field(default=30, ge=0, le=600)
    gateway_trace_always: bool = False

    # Limits of addresses; those of keys and accounts come from the brain (0: none).
    gateway_address_requests_per_minute: int = Field(default=0, ge=0, le=10**9)
    gateway_address_failures_per_minute: int = Field(default=300, ge=0, le=10**9)
    gateway_trusted_proxies: str = Field(default="", max_length=10_000)

    # Money and its evidence.
    gateway_slice_nano: int = Field(default=1_000_000_000, ge=1)
    gateway_slice_wait_seconds: float = Field(default=1, gt=0)
    gateway_slice_idle_seconds: float = Field(default=10, gt=0)
    gateway_cut_seconds_max: float = Field(default=10, gt=0)
    gateway_ship_seconds: float = Field(default=1, gt=0)
    gateway_spool_file_bytes: int = Field(default=4 * MIB, ge=65536)
    gateway_spool_bytes_max: int = Field(default=1024 * MIB, ge=MIB)

    # The end: finish what runs, then ship what was counted.
    gateway_drain_seconds: float = Field(default=30, ge=0)
    gateway_flush_seconds: float = Field(default=10, ge=0)

    @property
    def name(self) -> str:
        """A stable name of this gateway for the brain."""
        return self.gateway_name or f"{self.gateway_host}:{self.gateway_port}"

    @property
    def processes(self) -> int:
        return self.gateway_processes or len(os.sched_getaffinity(0))

    def check_several(self) -> None:
        """Raises ``BadInput`` where several processes could not be told from each other."""
        if self.gateway_link_url and "{port}" not in self.gateway_link_url:
            raise BadInput(
                "With GATEWAY_PROCESSES each process takes links on a port of its own: write"
                " GATEWAY_LINK_URL with {port} in it."
            )

    def of_process(self, number: int) -> dict[str, str]:
        """What one of several has for itself, as its environment."""
        link = self.gateway_link_port
        return {
            "GATEWAY_NAME": f"{self.name}/{number}",
            "GATEWAY_LINK_PORT": str(link + number if link else 0),
            "GATEWAY_PROCESSES": "1",
        }

    def link_terms(self) -> LinkTerms:
        return LinkTerms(
            host=self.gateway_link_host,
            port=self.gateway_link_port,
            url=self.gateway_link_url,
            certificate=self.gateway_link_certificate,
            certificate_key=self.gateway_link_certificate_key,
            lease_max=self.gateway_link_lease_max,
            address_max=self.gateway_link_address_max,
            unverified_max=self.gateway_link_unverified_max,
        )

    @property
    def takes_links(self) -> bool:
        """Always with a brain, which tells agents where; alone, where the settings say so."""
        return bool(self.brain_url) or "gateway_link_port" in self.model_fields_set
