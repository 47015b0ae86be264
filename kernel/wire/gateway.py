"""Brain <-> gateway, version 1. All under ``Authorization: Bearer <GATEWAY_TOKEN>``.

POST /internal/gateway/hello    Hello -> HelloAnswer      fixes this boot's offset to brain time
GET  /internal/changes?boot_id= NDJSON of ChangeLine      a whole snapshot, then what changed
     with ``want=pods``: of pods alone, for the front that takes people to them
POST /internal/gateway/slices   SliceRequest -> SliceAnswer   402 problem when there is no money
POST /internal/gateway/usage    UsageBatch -> UsageAnswer     acked after the brain's commit
POST /internal/gateway/limits   see ``wire.limits``
POST /internal/gateway/load     LoadReport -> LoadAnswer      what deployments are scaled by

The snapshot is also the file of ``ganglion gateway --snapshot FILE`` (docs/gateway.md).
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha1
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

VERSION = 1
_SEGMENTS = UUID("0d5f9c3e-51f7-4a3e-9d5a-6c1f0b1f7a11").bytes

PIECES_MAX = 5000  # of one kind in a message
Short = Annotated[str, Meta(min_length=1, max_length=200)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class KeyRow(Struct, omit_defaults=True):
    """An API key: ``digest`` is the hex sha256 of the whole secret."""

    key_id: str
    digest: str
    account_id: str
    scopes: list[str] = msgspec.field(default_factory=lambda: ["inference"])
    expires_at_ns: int = 0  # 0 = never
    models: list[str] | None = None  # None = all that the account may use
    cost_limit_nano: int = 0  # per request; 0 = none
    requests_per_minute: int = 0  # 0 = no limit; so are the next two
    tokens_per_minute: int = 0
    requests_at_once: int = 0
    refused: str = ""  # why it may not be used now: a limit on its spending


class AccountRow(Struct, omit_defaults=True):
    account_id: str
    stopped: bool = False
    cache_salt: str = ""
    requests_per_minute: int = 0  # of all its keys together; 0 = no limit, as with a key
    tokens_per_minute: int = 0
    requests_at_once: int = 0


LOOPBACK, REVERSE = "loopback", "reverse"  # kinds of links


class LinkRow(Struct, omit_defaults=True):
    """``loopback``: dial 127.0.0.1:port. ``reverse``: the node's agent dials (``wire.links``),
    and proves each link with ``key`` (64 hex digits, of this lease and epoch alone)."""

    kind: str = LOOPBACK
    port: int = 0  # of loopback links
    key: str = ""  # of reverse links

    def __repr__(self) -> str:
        return f"LinkRow(kind={self.kind!r}, port={self.port})"  # never the key


class ReplicaState(StrEnum):
    READY = "ready"
    DRAINING = "draining"  # finish what runs, take nothing new


class ReplicaRow(Struct, omit_defaults=True):
    replica_id: str
    deployment_id: str
    lease_id: str
    epoch: int
    gpus: int
    link: LinkRow
    state: ReplicaState = ReplicaState.READY
    upstream_model: str = ""  # the name that the worker serves; "" = as asked


class DeploymentRow(Struct, omit_defaults=True):
    """``account_id`` is the owner; the shared pool's is ``platform``."""

    deployment_id: str
    account_id: str
    name: str  # what clients write in ``model`` (deployment's own name)
    model: str  # catalog model id
    kind: str = "chat"  # chat, embedding, transcription ...
    pool: bool = False
    rate_nano: int = 0  # pool price per GPU-hour
    ceiling_prompt_nano: int = 0  # nano-dollars per 1,000 tokens; 0 = no ceiling
    ceiling_completion_nano: int = 0
    created: int = 0  # Unix seconds
    waits: bool = False  # a worker of it comes by itself: requests may wait for it
    scaled: bool = False  # by what gateways tell of its load
    concurrency: int = 0  # requests that a worker is made for; 0 = not told


class PodState(StrEnum):
    RUNNING = "running"  # it has a lease and its container runs
    STOPPED = "stopped"  # it is known, and cannot be reached now


class PodRow(Struct, omit_defaults=True):
    """A pod as its front knows it (``want=pods``); gateways are not told of pods.

    ``slug`` names it in host names and as the user of SSH: ``<slug>-<port>.<domain>``. It stays
    the same wherever the pod runs; lease, epoch and link are of its present run.
    """

    pod_id: str
    slug: str
    account_id: str
    lease_id: str = ""
    epoch: int = 0
    link: LinkRow = msgspec.field(default_factory=LinkRow)
    ports: list[int] = []  # of the container: those that may be reached
    state: PodState = PodState.STOPPED
    ssh: bool = False  # a shell may be opened in it
    ssh_keys: list[str] = []  # the account's, each as a line of authorized_keys
    reason: str = ""  # why it cannot be reached, for people


class Snapshot(Struct, omit_defaults=True):
    keys: list[KeyRow] = []
    accounts: list[AccountRow] = []
    deployments: list[DeploymentRow] = []
    replicas: list[ReplicaRow] = []
    pods: list[PodRow] = []
    v: int = VERSION


class ChangeLine(Struct, omit_defaults=True):
    """One NDJSON line: exactly one of the members is set. ``drop_*`` name ids that are gone.

    ``digest`` is :func:`snapshot_digest` of the whole; a gateway that differs asks anew.
    ``beat`` is a keep-alive: what was told is what there is. ``blind`` is one as well, of a brain
    that cannot read its database just now: what was told may be old.
    """

    snapshot: Snapshot | None = None
    key: KeyRow | None = None
    account: AccountRow | None = None
    deployment: DeploymentRow | None = None
    replica: ReplicaRow | None = None
    pod: PodRow | None = None
    drop_key: str | None = None
    drop_account: str | None = None
    drop_deployment: str | None = None
    drop_replica: str | None = None
    drop_pod: str | None = None
    digest: str | None = None
    beat: bool = False
    blind: bool = False


class Hello(Struct, forbid_unknown_fields=True):
    boot_id: Short  # one per gateway process start
    gateway: Short  # a stable name, such as host:port
    monotonic_ns: Count
    version: Short = "0"
    v: int = VERSION


class HelloAnswer(Struct):
    """``offset_ns``: brain time = monotonic + offset, fixed for this boot."""

    installation_id: str
    offset_ns: int
    window_seconds: int = 10
    v: int = VERSION


class SliceRequest(Struct, forbid_unknown_fields=True):
    """Ask for a durable hold to admit against. ``slice_id`` makes a retry safe."""

    slice_id: Short  # hold_..., made by the gateway
    boot_id: Short
    account_id: Short
    want_nano: Count
    need_nano: Count  # refuse below this


class SliceAnswer(Struct):
    slice_id: str
    granted_nano: int


class SegmentEnd(StrEnum):
    OPEN = "open"  # a periodic piece; the request goes on
    DONE = "done"
    ABORTED = "aborted"  # the client left
    FAILED = "failed"  # the worker failed
    CUT = "cut"  # the gateway died: ended at the last thing written about it


class Segment(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One piece of a request's residence on a replica; times on the gateway's monotonic clock."""

    key: Short  # segment_key(request, attempt, number)
    day: Short  # YYYY-MM-DD (UTC) when the segment was opened; fixed by the gateway
    boot_id: Short
    request_id: Short
    account_id: Short  # who pays
    key_id: Short
    deployment_id: Short
    replica_id: Short
    lease_id: Short
    epoch: Count
    attempt: Count
    number: Count
    start_ns: Count
    end_ns: Count
    weight: Annotated[int, Meta(ge=1, le=1024)] = 1
    end: SegmentEnd = SegmentEnd.OPEN
    status: Count = 200
    model: str = ""
    route: str = ""
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    tokens_estimated: bool = False
    slice_id: str | None = None


class Watermark(Struct, forbid_unknown_fields=True):
    """Everything of this replica before ``until_ns`` (gateway monotonic) has been shipped."""

    replica_id: Short
    until_ns: Count
    in_flight: Count = 0
    draining: bool = False  # the gateway knows that this replica drains


class SliceReturn(Struct, forbid_unknown_fields=True):
    """No more is admitted against this slice; what is not used may be released."""

    slice_id: Short


class UsageBatch(Struct, forbid_unknown_fields=True):
    """Sent about once a second. May be repeated; segments count once by key."""

    boot_id: Short
    gateway: Short
    sent_monotonic_ns: Count
    segments: Annotated[list[Segment], Meta(max_length=PIECES_MAX)]
    watermarks: Annotated[list[Watermark], Meta(max_length=PIECES_MAX)] = []
    returns: Annotated[list[SliceReturn], Meta(max_length=PIECES_MAX)] = []
    closed_boots: Annotated[list[str], Meta(max_length=100)] = []  # recovered and fully shipped
    v: int = VERSION


class ParkedPiece(Struct):
    """A segment that is kept, and not counted."""

    key: str  # under which it is kept
    reason: str


class UsageAnswer(Struct, omit_defaults=True):
    accepted: int  # new segments
    known: int  # seen before
    parked: list[ParkedPiece] = []  # of both


class Load(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What one gateway has of a deployment: means of the last second, and who waits now."""

    deployment_id: Short
    in_flight: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    waiting: Count = 0  # requests that have no worker
    tokens_per_second: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    # As its workers say: KV caches that are in use, summed over them, and more where requests
    # queue for one; requests in the workers' own queues. All gateways see the same workers.
    caches: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    queued: Count = 0


class LoadReport(Struct, forbid_unknown_fields=True):
    """Told each second of each deployment that is scaled, and at once when the first request
    begins to wait. The newest counts; one that is lost is followed by another."""

    boot_id: Short
    loads: Annotated[list[Load], Meta(max_length=PIECES_MAX)]
    v: int = VERSION


class LoadAnswer(Struct):
    taken: int


def segment_key(request_id: str, attempt: int, number: int) -> str:
    """The idempotency key of a segment: the same piece always has the same key.

    It is ``uuid5`` of RFC 9562, written out: one is made for each request.
    """
    name = f"{request_id}/{attempt}/{number}".encode()
    digest = bytearray(sha1(_SEGMENTS + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()
