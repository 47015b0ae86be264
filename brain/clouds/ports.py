"""What every cloud adapter offers, and the values that cross the line. No cloud is named here.

Money is integer nano-dollars, memory is MiB, disk is GiB, times are nanoseconds of wall time or
seconds as named. Every call has its own time-out and may raise any :class:`CloudError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable


class MachineState(StrEnum):
    """What a cloud says of a machine, in our words. Only RUNNING may carry an agent that beats;
    a machine that the cloud still lists is never absent, whatever its state."""

    PROVISIONING = "provisioning"  # accepted, nothing runs
    STARTING = "starting"  # it boots, or its image is pulled
    RUNNING = "running"
    STOPPED = "stopped"  # by us or by the cloud; its disk is still billed
    INTERRUPTED = "interrupted"  # taken away (spot outbid, preempted); may still bill
    FAILED = "failed"  # the cloud gave up on it; may still bill
    UNHEALTHY = "unhealthy"  # it does not work now, and may yet; bills
    TERMINATING = "terminating"
    TERMINATED = "terminated"  # listed as gone: no longer billed
    UNKNOWN = "unknown"  # the cloud lost touch, or uses a word that we do not know


@dataclass(frozen=True, slots=True)
class CloudOffer:
    """One kind of machine that can be rented now, for a whole number of GPUs.

    ``key`` is what :meth:`Cloud.create` needs to order exactly this, opaque and at most 300
    characters; it is stable between two refreshes for as long as the offer is.
    """

    cloud: str
    key: str
    gpu_name: str  # canonical, see the adapters' table; never empty
    gpus: int
    vram_mib: int  # of each GPU
    price_nano: int  # nano-dollars per GPU-hour, storage not included
    region: str
    host: str = ""  # the cloud's id of the physical host, where it tells one
    spot: bool = False
    secure: bool = True  # a data centre, not a stranger's machine
    free: int | None = None  # machines of this kind; None: at least one
    reliability_ppm: int | None = None  # as the cloud tells it
    storage_nano_gib_hour: int = 0
    egress_nano_gib: int = 0
    disk_gib_max: int | None = None
    disk_gib_included: int = 0
    boot_seconds: int | None = None  # typical, where the cloud tells it
    seconds_max: int | None = None  # how long it can be rented at most


@dataclass(frozen=True, slots=True)
class Boot:
    """What a new machine is to run: one POSIX shell script, and the environment it sees.

    ``env`` may hold a join token: never log it. ``image`` is used where a cloud boots containers.
    """

    script: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    image: str = ""


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """What the cloud pulls a private image with. Never log it."""

    server: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Container:
    """A renter's own image, run by the cloud with no agent of ours beside it.

    ``command`` stands in the place of the image's entry point (empty: the image's own),
    ``arguments`` follow it. ``env`` may hold secrets, which the cloud then sees: never log it.
    ``shell``: its owner wants to get in by SSH, with the order's public keys.
    """

    image: str
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    registry: RegistryAccess | None = None
    shell: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """One machine, which runs ``boot``, or ``container`` where that is said (and then no boot).
    ``tag`` is unique for each attempt and is put where the cloud lists it."""

    tag: str
    offer: CloudOffer
    boot: Boot = Boot("")
    container: Container | None = None
    disk_gib: int = 40
    ports: tuple[int, ...] = ()  # only where a machine has no agent of ours
    ssh_public_keys: tuple[str, ...] = ()
    bid_nano: int | None = None  # spot: the most per GPU-hour


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine as the cloud tells it. ``tag`` is empty when it bears none of ours."""

    machine_id: str
    tag: str
    state: MachineState
    said: str = ""  # the cloud's own words of its state, for people
    cost_nano_hour: int | None = None  # of the whole machine
    created_ns: int | None = None
    gpu_name: str = ""
    gpus: int = 0
    region: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """All machines of the account. ``complete`` only if every page came and could be read."""

    machines: tuple[Machine, ...]
    complete: bool
    why_incomplete: str = ""


@dataclass(frozen=True, slots=True)
class CloudFacts:
    """What is known of a cloud before it is called."""

    title: str
    boot_seconds_max: int = 1200  # after which a machine that is not up is given up
    listing_lag_seconds: int = 120  # a new machine may be missing from the list so long
    boots_containers: bool = True  # else virtual machines, with cloud-init
    spot: bool = False


class Cloud(Protocol):
    """One account at one cloud. Safe for many calls at once; holds no state that matters."""

    @property
    def name(self) -> str: ...

    @property
    def facts(self) -> CloudFacts: ...

    async def offers(self) -> list[CloudOffer]:
        """All that can be rented now. An empty list is an answer; a failure raises."""
        ...

    async def create(self, order: Order) -> Machine:
        """Rent one machine. Never repeated by the adapter: after ``OutcomeUnknown`` or
        ``Unreadable`` the machine may exist; look with :meth:`find_by_tag`."""
        ...

    async def machine(self, machine_id: str) -> Machine:
        """One machine as it is now, or ``MachineMissing``."""
        ...

    async def find_by_tag(self, tag: str) -> list[Machine]:
        """Every machine with exactly this tag: none, one, or (a fault) more. Raises when the
        listing was not complete, so that an empty answer means "not listed"."""
        ...

    async def listing(self) -> Listing:
        """Every machine of the account, ours or not, all pages."""
        ...

    async def terminate(self, machine_id: str) -> None:
        """Ask for its end. May be repeated. Returning proves nothing: look until it is gone.
        ``MachineMissing`` when the cloud does not know it."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class HasStop(Protocol):
    """Machines can be stopped with their disk kept, and started again (if a GPU is free)."""

    async def stop(self, machine_id: str) -> None: ...
    async def start(self, machine_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Volume:
    volume_id: str
    name: str
    size_gib: int
    region: str


@runtime_checkable
class HasVolumes(Protocol):
    async def volumes(self) -> list[Volume]: ...
    async def make_volume(self, name: str, size_gib: int, region: str) -> Volume: ...
    async def remove_volume(self, volume_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a port of a machine answers: the cloud's own address, not ours."""

    port: int
    host: str
    public_port: int
    kind: str  # "http", "tcp" or "ssh"
    user: str = ""
    shared: bool = False  # the cloud's go-between for SSH, which knows the account's keys alone


@runtime_checkable
class RunsContainers(Protocol):
    """Renters' own images can be run there, with no agent of ours."""

    def refuses(self, container: Container) -> str:
        """Why it cannot run this one as asked, as a sentence for its owner; "" = it can. Nothing
        is called: what the cloud itself thinks of the image shows when it is ordered."""
        ...


@runtime_checkable
class HasEndpoints(Protocol):
    async def endpoints(self, machine_id: str) -> list[Endpoint]: ...


@runtime_checkable
class HasLogs(Protocol):
    async def logs(self, machine_id: str, *, lines_max: int) -> list[str]: ...


@runtime_checkable
class HasBalance(Protocol):
    async def balance_nano(self) -> int:
        """Spendable money of the account."""
        ...


@dataclass(frozen=True, slots=True)
class Billed:
    """What a cloud took for one machine in a stretch of time, as its own bill says."""

    machine_id: str
    from_ns: int
    until_ns: int
    amount_nano: int


@runtime_checkable
class HasBills(Protocol):
    async def bills(self, since_ns: int, until_ns: int) -> list[Billed]:
        """What was billed for each machine, by the day or coarser, from one UTC midnight to
        another. A row that cannot be read raises ``Unreadable``: a bill has no gaps."""
        ...
