"""What the routes of pods take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SecretStr, model_validator

from brain.deployments import Wishes
from brain.edge import Body
from brain.pods import core
from brain.pods.service import PodWanted
from brain.pods.volumes import Mount
from brain.scheduling import Prefer
from kernel.money import Money

Dollars = Annotated[str, Field(pattern=r"^\d{1,4}(\.\d{1,9})?$", examples=["1.50"])]
Budget = Annotated[str, Field(pattern=r"^\d{1,7}(\.\d{1,9})?$", examples=["25"])]
Region = Annotated[str, Field(pattern=r"^[\w .,()/-]{1,60}$", examples=["us-east-1"])]
Word = Annotated[str, Field(max_length=core.WORD_CHARS_MAX)]
Named = Annotated[str, Field(min_length=1, max_length=100)]


class VolumeMountIn(Body):
    """A volume that is there, by ``volume_id`` or ``name``; or with ``size_gib`` a new one."""

    path: Annotated[str, Field(min_length=2, max_length=255, examples=["/data"])]
    volume_id: Named | None = None
    name: Annotated[str, Field(min_length=1, max_length=63, examples=["my-data"])] | None = None
    size_gib: Annotated[int, Field(ge=1, le=core.VOLUME_GIB_MAX, strict=True)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> VolumeMountIn:
        if (self.volume_id is None) == (self.name is None):
            raise ValueError("give either name or volume_id")
        return self

    def mount(self) -> Mount:
        return Mount(self.path, self.volume_id or "", self.name or "", self.size_gib)


class PodGpus(Body):
    """``name`` is part of a GPU's name; ``simulated``: one that only pretends will do."""

    count: Annotated[int, Field(ge=1, le=core.GPUS_MAX, strict=True)] = 1
    name: Annotated[str, Field(pattern=r"^[\w .()/-]{1,60}$", examples=["H100"])] | None = None
    min_vram_gib: Annotated[int, Field(ge=0, le=1024, strict=True)] = 0
    simulated: Annotated[bool, Field(strict=True)] = False


class PodCreate(Body):
    """``command`` stands in the place of the image's entry point, ``arguments`` follow it."""

    image: Annotated[
        str, Field(min_length=1, max_length=core.IMAGE_CHARS_MAX, examples=["ubuntu:24.04"])
    ]
    name: Annotated[str, Field(min_length=1, max_length=63, examples=["trainer"])] | None = None
    command: Annotated[list[Word], Field(max_length=core.WORDS_MAX)] = Field(default_factory=list)
    arguments: Annotated[list[Word], Field(max_length=core.WORDS_MAX)] = Field(default_factory=list)
    env: Annotated[
        dict[str, Annotated[str, Field(max_length=32_768)]],
        Field(max_length=core.ENVIRONMENT_MAX, examples=[{"EPOCHS": "3"}]),
    ] = Field(default_factory=dict, repr=False)
    ports: Annotated[
        list[Annotated[int, Field(strict=True)]],
        Field(max_length=core.PORTS_MAX, examples=[[8888]]),
    ] = Field(default_factory=list)
    gpus: PodGpus = Field(default_factory=PodGpus)
    volumes: Annotated[list[VolumeMountIn], Field(max_length=core.VOLUMES_OF_A_POD_MAX)] = Field(
        default_factory=list
    )
    disk_gib: Annotated[int, Field(ge=1, le=core.DISK_GIB_MAX, strict=True)] = 20
    shm_mib: Annotated[int, Field(ge=16, le=1_048_576, strict=True)] = 1024
    memory_gib: Annotated[int, Field(ge=0, le=4096, strict=True, description="0: no limit.")] = 0
    ssh: Annotated[bool, Field(strict=True)] = True
    secrets: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=32)] = Field(
        default_factory=list
    )
    registry_id: Named | None = None
    max_price_usd_per_gpu_hour: Dollars | None = None
    budget_usd: Budget | None = None
    max_duration_seconds: Annotated[int, Field(ge=60, le=31_536_000, strict=True)] | None = None
    regions: Annotated[list[Region], Field(max_length=20)] = Field(default_factory=list)
    spot: Annotated[bool, Field(strict=True)] = False
    secure: Annotated[bool, Field(strict=True)] = False
    clouds: Annotated[
        bool, Field(strict=True, description="It may run at a cloud, without our agent.")
    ] = False
    min_reliability_percent: Annotated[float, Field(ge=0, le=100)] = 0

    def wanted(self) -> PodWanted:
        price, budget = self.max_price_usd_per_gpu_hour, self.budget_usd
        return PodWanted(
            image=self.image,
            name=self.name,
            command=self.command,
            arguments=self.arguments,
            environment=self.env,
            ports=self.ports,
            gpus=self.gpus.count,
            gpu=self.gpus.name,
            vram_gib_min=self.gpus.min_vram_gib,
            simulated=self.gpus.simulated,
            disk_gib=self.disk_gib,
            shm_mib=self.shm_mib,
            memory_gib=self.memory_gib,
            mounts=[one.mount() for one in self.volumes],
            registry=self.registry_id,
            secrets=self.secrets,
            ssh=self.ssh,
            clouds=self.clouds,
            price_max=None if price is None else Money.usd(price),
            budget=None if budget is None else Money.usd(budget),
            max_duration_seconds=self.max_duration_seconds,
            wishes=Wishes(
                regions=tuple(self.regions),
                spot=self.spot,
                secure=self.secure,
                reliability_ppm_min=round(self.min_reliability_percent * 10_000),
                prefer=Prefer.CHEAPEST,
            ),
        )


class VolumeCreate(Body):
    name: Annotated[str, Field(min_length=1, max_length=63, examples=["my-data"])]
    size_gib: Annotated[int, Field(ge=1, le=core.VOLUME_GIB_MAX, strict=True)]


class SshKeyCreate(Body):
    """One line of a ``.pub`` file. Without ``name`` it is called by its comment."""

    public_key: Annotated[
        str, Field(min_length=1, max_length=8192, examples=["ssh-ed25519 AAAA... you@host"])
    ]
    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")] | None = (
        None
    )


class RegistryCreate(Body):
    """``server`` is a host such as ``ghcr.io``; ``password`` is a password or token."""

    name: Annotated[str, Field(min_length=1, max_length=63, examples=["github"])]
    server: Annotated[str, Field(min_length=1, max_length=255, examples=["ghcr.io"])]
    username: Annotated[str, Field(min_length=1, max_length=255)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=16_384)]


class RunOut(BaseModel):
    """One run of a pod: from its place to its end. ``price_usd_per_gpu_hour`` was fixed then."""

    run_id: str
    state: str
    reason: str
    since: datetime
    waiting_reason: str
    lease_id: str | None
    node_id: str | None
    gpus: int
    price_usd_per_gpu_hour: str | None
    placed_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


class PortOut(BaseModel):
    port: int
    url: str | None = Field(description="Stable; null: the pod runs without our agent.")


class EndpointOut(BaseModel):
    """The cloud's own address of a port: it goes with this run. ``kind``: http, tcp or ssh."""

    port: int
    kind: str
    host: str
    public_port: int
    user: str
    address: str = Field(examples=["https://abc-8888.proxy.runpod.net", "203.0.113.7:20001"])


class MountOut(BaseModel):
    volume_id: str
    name: str
    path: str
    size_gib: int
    state: str


class PodOut(BaseModel):
    """``asked`` is what its owner asked for, ``state`` what it is. ``run`` is the present run, or
    the last one. ``reachable``: connections get through now."""

    pod_id: str
    slug: str
    name: str
    state: str
    reason: str
    asked: str
    asked_reason: str
    failed_reason: str | None
    image: str
    command: list[str]
    arguments: list[str]
    env: list[str] = Field(description="Names of the variables; values are not shown again.")
    secrets: list[str]
    registry_id: str | None
    ports: list[PortOut]
    ssh: str | None = Field(description="What to type; null: it has no shell.")
    ssh_keys: int = Field(description="Of the account; without one nobody gets in.")
    reachable: bool
    clouds: bool = Field(description="It may run at a cloud, without our agent.")
    agent: Literal["ours", "none"] | None = Field(
        description='Of the present run; "none": an image at a cloud by itself; null: no run.'
    )
    cloud: str | None = Field(description="Where it runs without our agent.")
    endpoints: list[EndpointOut] = Field(description="The cloud's own; only without our agent.")
    notice: str = Field(description="What such a run lacks, as a sentence.")
    gpus: int
    gpu: str | None
    min_vram_gib: int
    simulated: bool
    disk_gib: int
    volumes: list[MountOut]
    run: RunOut | None
    max_price_usd_per_gpu_hour: str | None
    budget_usd: str | None
    max_duration_seconds: int | None
    cost_usd: str = Field(description="Of its GPUs so far; volumes are billed by themselves.")
    cost_usd_per_hour: str
    storage_usd_per_hour: str
    created_at: datetime
    ended_at: datetime | None


class VolumeOut(BaseModel):
    """``state``: new (no pod has used it), kept, dropping, gone. ``lapses_at``: when it is given
    up unless there is credit again."""

    volume_id: str
    name: str
    size_gib: int
    used_mib: int
    state: str
    reason: str
    pod_id: str | None
    node_id: str | None
    price_usd_per_gib_hour: str
    cost_usd: str = Field(description="On the bill so far: posted once an hour.")
    cost_usd_per_hour: str
    created_at: datetime
    found_at: datetime | None
    seen_at: datetime | None
    lapses_at: datetime | None


class StrayOut(BaseModel):
    """A volume that a node reports and nobody owns there."""

    node_id: str
    volume_id: str
    used_mib: int
    first_at: datetime
    seen_at: datetime


class SshKeyOut(BaseModel):
    ssh_key_id: str
    name: str
    fingerprint: str
    public_key: str
    created_at: datetime


class SshKeysOut(BaseModel):
    items: list[SshKeyOut]


class RegistryOut(BaseModel):
    """The password is shown to nobody."""

    registry_id: str
    name: str
    server: str
    username: str
    created_at: datetime


class RegistriesOut(BaseModel):
    items: list[RegistryOut]


class PodEventOut(BaseModel):
    event_id: str
    at: datetime
    what: str
    reason: str
    run_id: str | None


class PodWhyOut(BaseModel):
    """``candidates`` as in the deployments' ``why``: best first, each with its reasons."""

    pod_id: str
    outcome: str
    planned_at: datetime | None
    waiting: list[str]
    candidates: list[dict[str, Any]]
    candidate_count: int


class PodLogLineOut(BaseModel):
    run_id: str
    number: int
    at: datetime
    stream: str
    text: str


class PodLogsOut(BaseModel):
    items: list[PodLogLineOut]


class PodGpuOut(BaseModel):
    uuid: str
    name: str
    utilisation_percent: int | None
    memory_used_mib: int
    memory_total_mib: int
    temperature_c: int | None
    power_watts: float | None
    simulated: bool


class PodUsageOut(BaseModel):
    """Bytes count from the start of this run."""

    cpu_percent: float
    memory_used_mib: int
    memory_limit_mib: int
    net_rx_bytes: int
    net_tx_bytes: int
    block_read_bytes: int
    block_write_bytes: int
    processes: int


class PodStatsOut(BaseModel):
    """From the node's last beat; ``seen_at`` null: nothing is known now."""

    pod_id: str
    state: Literal[
        "waiting",
        "starting",
        "running",
        "stopping",
        "stopped",
        "failed",
        "terminating",
        "terminated",
    ]
    seen_at: datetime | None
    restarts: int
    pull_done_mib: int
    pull_total_mib: int
    usage: PodUsageOut | None
    gpus: list[PodGpuOut]
