"""Brain <-> node agent, version 1.

Enrolment: POST /agent/v1/enroll      EnrollRequest -> EnrollAnswer     (join token in the body)
Session:   POST /agent/v1/session     SessionRequest -> SessionAnswer   (Ed25519 signature inside)
Beat:      POST /agent/v1/beat        Beat -> BeatAnswer                (HMAC headers)
Rotation:  POST /agent/v1/rotate      RotateRequest -> RotateAnswer     (wire.keys)
Leaving:   POST /agent/v1/leave       LeaveRequest -> LeaveAnswer       (HMAC headers; wire.keys)
Wake:      GET  /agent/v1/wake?generation=N   204 at a newer generation or after 25 s (HMAC)
Logs:      POST /agent/v1/logs        LogBatch -> 204                   (HMAC headers)
Secrets:   POST /agent/v1/secrets     SecretsRequest -> SecretsAnswer   (HMAC headers)

HMAC headers: ``X-Ganglion-Session: <session id>``, ``X-Ganglion-Seq: <rising integer>`` and
``X-Ganglion-Mac: hex(HMAC-SHA256(session key, mac_input(...)))``. A sequence number is used once
for (node, agent start): a repeated one, one far below the highest, or a beat at or below the last
beat is refused with 409 ``replayed``. (Calls on two connections may overtake each other.)

No message here refuses fields that it does not know: an agent may be newer than its brain, a brain
newer than its agents. A new field has a default; a new one of an array comes last.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from kernel.wire.launch import (
    LaunchSpec,
    RegistryLogin,
    SecretsAnswer,
    SecretsRequest,
    VolumeMount,
)
from kernel.wire.readings import (
    XIDS_MAX,
    Count,
    GpuReading,
    GpuSpans,
    HostReading,
    NvmlState,
    Percent,
    Short,
    Span,
    Text,
    VolumeSeen,
)

__all__ = [
    "XIDS_MAX",
    "Count",
    "GpuReading",
    "GpuSpans",
    "HostReading",
    "LaunchSpec",
    "NvmlState",
    "Percent",
    "RegistryLogin",
    "SecretsAnswer",
    "SecretsRequest",
    "Short",
    "Span",
    "Text",
    "VolumeMount",
    "VolumeSeen",
]

VERSION = 1
SESSION_HEADER = "X-Ganglion-Session"
SEQ_HEADER = "X-Ganglion-Seq"
MAC_HEADER = "X-Ganglion-Mac"

RESTARTS_MAX = 1_000_000  # of one lease; kept in a column of 32 bits
Restarts = Annotated[int, Meta(ge=0, le=RESTARTS_MAX)]
Nanoseconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # 2**53 would be 104 days of uptime


class EnrollRequest(Struct):
    token: Short
    public_key: Annotated[str, Meta(min_length=64, max_length=64)]  # Ed25519, hex
    agent_version: Short
    host: HostReading
    gpus: Annotated[list[GpuReading], Meta(max_length=64)]
    name: Annotated[str, Meta(max_length=80)] = ""
    v: int = VERSION


class EnrollAnswer(Struct):
    node_id: str
    installation_id: str
    beat_seconds: int
    v: int = VERSION


class SessionRequest(Struct):
    """``signature`` is Ed25519 over :func:`session_input`, hex."""

    node_id: Short
    host_boot_id: Short  # the host's boot: a new one holds no lease
    agent_start_id: Short  # this agent process: the sequence numbers' scope
    nonce: Short
    signature: Annotated[str, Meta(min_length=128, max_length=128)]
    agent_version: Short = "0"
    v: int = VERSION


class SessionAnswer(Struct):
    session_id: str
    session_key: str  # hex, 32 bytes
    expires_in_seconds: int
    installation_id: str
    v: int = VERSION


class LeaseSeenState(StrEnum):
    """What the agent sees of one lease's work."""

    STARTING = "starting"  # image pull, container or process starting
    LOADING = "loading"  # it runs; the worker does not answer /health yet
    READY = "ready"
    STOPPING = "stopping"
    GONE = "gone"  # container or process gone and the GPUs free: evidence
    FAILED = "failed"


class WorkUsage(Struct, omit_defaults=True):
    """What one container uses. Bytes count from the start of this run of it."""

    cpu_percent: Annotated[float, Meta(ge=0)] = 0.0  # 100 = one core, since the last sample
    memory_used_mib: Count = 0  # without the page cache that could be given back
    memory_limit_mib: Count = 0  # 0 = none
    net_rx_bytes: Count = 0
    net_tx_bytes: Count = 0
    block_read_bytes: Count = 0
    block_write_bytes: Count = 0
    pids: Count = 0


class LeaseSeen(Struct, omit_defaults=True):
    lease_id: Short
    epoch: Count
    state: LeaseSeenState
    reason: Text = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0  # on the node's own loopback
    restarts: Restarts = 0
    pull_done_mib: Count = 0
    pull_total_mib: Count = 0
    gpu_uuids: list[Short] = []
    metrics: dict[str, float] = {}  # the worker's own gauges, by vLLM's names
    kv_cache_tokens: Count = 0  # room in its cache as it tells, known once it is ready
    usage: WorkUsage | None = None  # of a running container; absent where it is not sampled


class Severity(StrEnum):
    """How much a point of the agent's look at its own machine matters."""

    OK = "ok"
    INFO = "info"
    WARN = "warn"  # shown
    FATAL = "fatal"  # the node is not to be listed


class PreflightPoint(Struct, omit_defaults=True):
    """One thing that was looked at: its name, what was found, how much that matters."""

    name: Annotated[str, Meta(min_length=1, max_length=60)]
    severity: Severity
    said: Annotated[str, Meta(max_length=300)] = ""


class CheckStage(StrEnum):
    """How far a check of a GPU is, as the agent sees it."""

    RUNNING = "running"
    COMMITTED = "committed"  # filled, read and multiplied; bound to what was found
    RECALLED = "recalled"  # read once more under the brain's newest key
    OPENED = "opened"  # the sampled blocks and rows are shown
    REFUSED = "refused"  # it cannot be done; ``refusal`` says why


class CheckRefusal(StrEnum):
    NO_ROOM = "no_room"  # the memory could not be filled
    NO_GPU = "no_gpu"  # there is no such GPU
    FAILED = "failed"  # the work itself failed
    NOT_ABLE = "not_able"  # this agent has no means to run it


class OpenedBlock(Struct):
    """``path``: the groups of the tree from the leaves up. Pass ``passes`` is the recall."""

    reading: Annotated[int, Meta(ge=0, le=64)]
    block: Count
    path: Annotated[list[Annotated[bytes, Meta(max_length=512)]], Meta(max_length=12)]


class OpenedRow(Struct):
    """A row of the sampled product, as 32-bit integers, and its path."""

    row: Count
    content: Annotated[bytes, Meta(max_length=32_768)]
    path: Annotated[list[Annotated[bytes, Meta(max_length=512)]], Meta(max_length=12)]


class CheckTold(Struct, omit_defaults=True):
    """What the agent tells of a check, whole in each beat until the brain asks no more.

    Times are the agent's own; roots are hex.
    """

    check_id: Short
    stage: CheckStage
    refusal: CheckRefusal | None = None
    reason: Annotated[str, Meta(max_length=500)] = ""
    fill_ms: Count = 0
    read_ms: Count = 0
    multiply_ms: Count = 0
    readings: Annotated[list[Annotated[str, Meta(max_length=40)]], Meta(max_length=64)] = []
    products: Annotated[list[Annotated[str, Meta(max_length=40)]], Meta(max_length=256)] = []
    recall: Annotated[str, Meta(max_length=40)] = ""
    blocks: Annotated[list[OpenedBlock], Meta(max_length=64)] = []
    rows: Annotated[list[OpenedRow], Meta(max_length=16)] = []


class Beat(Struct):
    """Everything the agent sees. ``generation`` is of the desired set it has applied."""

    node_id: Short
    host_boot_id: Short
    generation: Count
    nvml: NvmlState
    gpus: Annotated[list[GpuReading], Meta(max_length=64)]
    host: HostReading
    leases: Annotated[list[LeaseSeen], Meta(max_length=256)]
    agent_version: Short = "0"
    renewal_sent_boot_ns: Nanoseconds = 0  # agent's boot clock, taken before sending
    volumes: Annotated[list[VolumeSeen], Meta(max_length=256)] = []
    preflight: Annotated[list[PreflightPoint], Meta(max_length=64)] | None = None  # when changed
    checks: Annotated[list[CheckTold], Meta(max_length=64)] = []
    agent_file: Annotated[str, Meta(max_length=64)] = ""  # SHA-256 of the file it runs from
    update_failed: Annotated[str, Meta(max_length=64)] = ""  # one that was tried and taken back
    update_reason: Annotated[str, Meta(max_length=300)] = ""
    v: int = VERSION


class DesiredState(StrEnum):
    RUN = "run"
    STOP = "stop"


class DesiredLease(Struct):
    lease_id: str
    epoch: int
    gpu_uuids: list[str]
    ttl_seconds: int
    state: DesiredState
    launch: LaunchSpec
    link_key: str = ""  # hex; proves this lease's links to gateways (wire.links)


class DesiredSet(Struct):
    """The whole set. Work that is not in it must not run. A lower generation is ignored."""

    generation: int
    leases: list[DesiredLease]
    drop_volumes: list[str] = []  # to be removed; named until the node reports them no more


class GatewayAddress(Struct):
    """Where one gateway process takes links from agents: to workers, or to pods alone."""

    boot_id: str
    url: str  # http(s)://host:port
    pods: bool = False


class CheckSample(Struct):
    """What is to be opened: (reading, block) pairs, and rows of one product."""

    blocks: list[tuple[int, int]]
    product: int
    rows: list[int]


class CheckOrder(Struct, omit_defaults=True):
    """One check of one GPU (``kernel.workproof`` defines the work). It is named in each answer
    while it is wanted; a check that is named no more is given up at once."""

    check_id: str
    gpu_uuid: str
    seed: str  # hex, 32 bytes
    blocks: int
    block_bytes: int
    readings: int
    matrix: tuple[int, int, int]  # rows, inner, columns
    products: int
    seconds_max: int
    image: str = ""  # whose torch does it on a real GPU
    recall: str = ""  # hex key: read everything once more
    sample: CheckSample | None = None


class BeatAnswer(Struct):
    """``desired`` is present when the agent's generation is older than the node's."""

    generation: int
    desired: DesiredSet | None = None
    renewed: list[str] = []  # lease ids whose ttl starts anew from renewal_sent_boot_ns
    beat_seconds: int = 10
    update_to: str | None = None  # sha256 of the agent's code that this brain hands out
    gateways: list[GatewayAddress] = []
    checks: list[CheckOrder] = []
    v: int = VERSION


class LogLine(Struct):
    at_ns: Nanoseconds
    stream: Annotated[str, Meta(max_length=8)]  # stdout, stderr, agent
    text: Text


class LogBatch(Struct):
    """``first`` numbers the first line; the brain drops lines that it has."""

    lease_id: Short
    first: Count
    lines: Annotated[list[LogLine], Meta(max_length=1000)]
    v: int = VERSION


def session_input(request: SessionRequest) -> bytes:
    """The bytes that the node's key signs for a session."""
    parts = (
        "ganglion-session-v1",
        request.node_id,
        request.host_boot_id,
        request.agent_start_id,
        request.nonce,
        request.agent_version,
    )
    return "\n".join(parts).encode()


def mac(key: bytes, method: str, path: str, seq: int, body: bytes) -> str:
    """The MAC of one signed call: method, path with query, sequence number, body digest."""
    digest = hashlib.sha256(body).hexdigest()
    text = f"ganglion-call-v1\n{method}\n{path}\n{seq}\n{digest}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


beat_decoder = msgspec.json.Decoder(Beat)
