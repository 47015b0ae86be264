"""Every setting of the gateway, by its environment name; each has a limit or a default.

Read by msgspec, which the gateway has anyway: pydantic would be a fifth of its memory.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from inference.link_listener import LinkTerms
from kernel.errors import BadInput

MIB = 1 << 20


class Settings(Struct, frozen=True, kw_only=True):
    """``read`` once, in ``app.py``. An empty ``BRAIN_URL``: run alone, from ``--snapshot``."""

    brain_url: str = ""
    gateway_token: str = ""
    gateway_name: str = ""
    gateway_host: str = "127.0.0.1"
    gateway_port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    gateway_reuse_port: bool = False
    # Several processes share the port (docs/gateway.md); 0: one a core. With ``gateway_own_port``
    # each has one of its own on loopback as well, from that number on, for its metrics and health.
    gateway_processes: Annotated[int, Meta(ge=0, le=256)] = 1
    gateway_own_port: Annotated[int, Meta(ge=0, le=65000)] = 0
    gateway_spool_dir: Path = Path(".ganglion/gateway/spool")
    snapshot_stale_seconds: Annotated[float, Meta(gt=0)] = 600

    # Where agents' links come in, and what they are told of it (docs/gateway.md, "Links").
    gateway_link_host: str = "127.0.0.1"
    gateway_link_port: Annotated[int, Meta(ge=0, le=65535)] | None = None  # 0: any free one
    gateway_link_url: Annotated[str, Meta(max_length=500, pattern=r"^(https?://.+)?$")] = ""
    gateway_link_certificate: Path | None = None
    gateway_link_certificate_key: Path | None = None
    gateway_link_lease_max: Annotated[int, Meta(ge=8)] = 1024
    gateway_link_address_max: Annotated[int, Meta(ge=8)] = 8192
    gateway_link_unverified_max: Annotated[int, Meta(ge=8)] = 1024

    # What a client may send, and how slowly.
    gateway_connections_max: Annotated[int, Meta(ge=1)] = 10_000
    gateway_body_bytes_max: Annotated[int, Meta(ge=1024)] = 8 * MIB
    gateway_bodies_bytes_max: Annotated[int, Meta(ge=MIB)] = 1024 * MIB
    gateway_upload_bytes_max: Annotated[int, Meta(ge=1024)] = 128 * MIB
    gateway_upload_spill_bytes_max: Annotated[int, Meta(ge=0)] = 1024 * MIB
    gateway_head_bytes_max: Annotated[int, Meta(ge=1024)] = 64 * 1024
    gateway_head_seconds_max: Annotated[float, Meta(gt=0)] = 10
    gateway_body_seconds_max: Annotated[float, Meta(gt=0)] = 60
    gateway_keepalive_seconds: Annotated[float, Meta(gt=0)] = 75

    # How long a worker may take: to accept, to begin, between pieces, in all.
    gateway_connect_seconds_max: Annotated[float, Meta(gt=0)] = 3
    gateway_first_byte_seconds_max: Annotated[float, Meta(gt=0)] = 300
    gateway_idle_seconds_max: Annotated[float, Meta(gt=0)] = 60
    gateway_total_seconds_max: Annotated[float, Meta(gt=0)] = 3600
    gateway_tries_max: Annotated[int, Meta(ge=1, le=10)] = 3
    gateway_link_idle_seconds: Annotated[float, Meta(gt=0)] = 4  # vLLM's own keep-alive is 5

    # WebSockets: how many, how much of a message and of sound, how fast, how long.
    gateway_socket_max: Annotated[int, Meta(ge=1)] = 500
    gateway_socket_message_bytes_max: Annotated[int, Meta(ge=4096)] = MIB
    gateway_socket_messages_per_second_max: Annotated[int, Meta(ge=1)] = 200
    gateway_socket_sound_seconds_max: Annotated[float, Meta(gt=0, le=600)] = 120
    gateway_socket_sound_bytes_max: Annotated[int, Meta(ge=MIB)] = 64 * MIB
    gateway_socket_leg_seconds_max: Annotated[float, Meta(gt=0)] = 60
    gateway_socket_ping_seconds: Annotated[float, Meta(gt=0)] = 20
    gateway_socket_idle_seconds_max: Annotated[float, Meta(gt=0)] = 600
    gateway_socket_total_seconds_max: Annotated[float, Meta(gt=0)] = 3600

    # Requests that wait for a worker: how long for one that sleeps or starts, how long for one of
    # those that are all busy (0: not at all); how many, how much of them.
    gateway_wait_seconds_max: Annotated[float, Meta(ge=0)] = 300
    gateway_queue_seconds_max: Annotated[float, Meta(ge=0)] = 30
    gateway_wait_requests_max: Annotated[int, Meta(ge=0)] = 1000
    gateway_wait_bytes_max: Annotated[int, Meta(ge=0)] = 64 * MIB

    # How often a worker of a deployment that follows its load is asked how full it is; 0: never.
    gateway_worker_metrics_seconds: Annotated[float, Meta(ge=0, le=600)] = 5

    # How long a request joins one with the same Idempotency-Key; whether each is traced.
    gateway_replay_wait_seconds: Annotated[float, Meta(ge=0, le=600)] = 30
    gateway_trace_always: bool = False

    # Limits of addresses; those of keys and accounts come from the brain (0: none).
    gateway_address_requests_per_minute: Annotated[int, Meta(ge=0, le=10**9)] = 0
    gateway_address_failures_per_minute: Annotated[int, Meta(ge=0, le=10**9)] = 300
    gateway_trusted_proxies: Annotated[str, Meta(max_length=10_000)] = ""

    # Money and its evidence.
    gateway_slice_nano: Annotated[int, Meta(ge=1)] = 1_000_000_000
    gateway_slice_wait_seconds: Annotated[float, Meta(gt=0)] = 1
    gateway_slice_idle_seconds: Annotated[float, Meta(gt=0)] = 10
    gateway_cut_seconds_max: Annotated[float, Meta(gt=0)] = 10
    gateway_ship_seconds: Annotated[float, Meta(gt=0)] = 1
    gateway_spool_file_bytes: Annotated[int, Meta(ge=65536)] = 4 * MIB
    gateway_spool_bytes_max: Annotated[int, Meta(ge=MIB)] = 1024 * MIB

    # The end: finish what runs, then ship what was counted.
    gateway_drain_seconds: Annotated[float, Meta(ge=0)] = 30
    gateway_flush_seconds: Annotated[float, Meta(ge=0)] = 10

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
        link = self.gateway_link_port or 0
        return {
            "GATEWAY_NAME": f"{self.name}/{number}",
            "GATEWAY_LINK_PORT": str(link + number if link else 0),
            "GATEWAY_PROCESSES": "1",
        }

    def link_terms(self) -> LinkTerms:
        return LinkTerms(
            host=self.gateway_link_host,
            port=self.gateway_link_port or 0,
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
        return bool(self.brain_url) or self.gateway_link_port is not None

    def __repr__(self) -> str:
        return f"Settings(name={self.name!r}, brain_url={self.brain_url!r})"


def read(**chosen: Any) -> Settings:
    """From the environment, what is ``chosen`` above it; an empty variable is one that is not set.

    ``BadInput`` names the setting that is wrong and what it must be.
    """
    names = [field.name for field in msgspec.structs.fields(Settings)]
    found = {name: value for name in names if (value := os.environ.get(name.upper()))}
    try:
        return msgspec.convert({**found, **chosen}, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        words, _, place = str(error).partition(" - at ")
        name = re.sub(r"\W", "", place).upper()
        raise BadInput(f"{name} is wrong: {words}.") from None


def _path(kind: type, value: object) -> object:
    assert kind is Path, "the only kind that msgspec does not know itself"
    return Path(str(value))
