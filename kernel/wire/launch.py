"""How one worker or pod is started on a node, secrets apart. Part of the wire of ``agent``."""

from __future__ import annotations

from msgspec import Struct

from kernel.wire.readings import Count, Short


class VolumeMount(Struct):
    """A volume of the node, kept when the container goes; ``path`` is inside the container."""

    volume_id: str
    path: str
    size_gib: int


class LaunchSpec(Struct, omit_defaults=True):
    """How to start one worker or pod. ``{port}`` and ``{model_path}`` in arguments are filled in.

    ``secrets``: environment and registry credentials that are asked for before each start, by
    POST /agent/v1/secrets, and never written down on the node.
    """

    engine: str  # "standin", "vllm", ...; "pod" for any image of a renter
    image: str
    arguments: list[str]
    environment: dict[str, str] = {}
    process: list[str] = []  # argv for the process hand; empty = containers only
    port: int = 8000  # inside the container; 0 = none
    health_path: str = "/health"  # "" = it is ready as soon as it runs
    memory_mib: int = 0  # 0 = no limit
    shm_mib: int = 1024
    start_seconds_max: int = 1800
    drain_seconds_max: int = 300
    command: list[str] = []  # in the place of the image's entry point
    ports: list[int] = []  # further ports inside the container, each reached over a link
    volumes: list[VolumeMount] = []
    disk_mib: int = 0  # of the container's own writable layer; 0 = no limit
    secrets: bool = False
    shell: bool = False  # the renter may open a shell in it (links to port "exec")


class SecretsRequest(Struct):
    """Asked before each start of work whose launch says ``secrets``."""

    lease_id: Short
    epoch: Count
    v: int = 1


class RegistryLogin(Struct, omit_defaults=True):
    """Credentials for the registry that the image is pulled from, ``docker.io`` for Docker's."""

    server: str  # host or host:port; it is told to no other
    username: str
    password: str

    def __repr__(self) -> str:
        return f"RegistryLogin(server={self.server!r}, username={self.username!r})"


class SecretsAnswer(Struct, omit_defaults=True):
    """For the memory of the agent and the work's own environment alone; never written down."""

    environment: dict[str, str] = {}
    registry: RegistryLogin | None = None
    v: int = 1

    def __repr__(self) -> str:
        names = sorted(self.environment)
        return f"SecretsAnswer(environment={names!r}, registry={self.registry!r})"
