"""The blocking calls to Docker about containers, each with its limit, each safe to repeat."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import requests
from docker.errors import APIError, DockerException, NotFound
from docker.types import DeviceRequest

from kernel.errors import GanglionError
from kernel.wire.agent import VolumeMount, WorkUsage
from node_agent.containers import facts, gpus, networks, options, output, usage
from node_agent.containers.client import (
    NAME_CLASH,
    Client,
    Connection,
    GivenUp,
    removed,
    why_not_started,
)
from node_agent.containers.images import ImageBook
from node_agent.containers.pull import Puller
from node_agent.containers.states import LIFE, Life, Stage, Step, stage_of
from node_agent.engine import Hold, Order, StartFailed
from node_agent.gpu import is_simulated
from node_agent.records import Phase, Work
from node_agent.report import Progress

INSIDE_SECONDS_MAX = 5.0
NO_ANSWER = (400, 404, NAME_CLASH)  # no such program, gone, or not running


class Folders(Protocol):
    """Where the volumes of a launch lie on this host."""

    def prepare(self, mounts: list[VolumeMount]) -> Mapping[str, str]:
        """Volume id -> folder, each made if it is not there; raises ``StartFailed`` or
        ``StartRefused``."""
        ...


class StillRuns(StartFailed):
    """It was asked to be removed while it runs."""


class DockerCalls:
    """Keeps nothing of a container but what is costly to ask again."""

    def __init__(
        self,
        connection: Connection,
        *,
        work_home: Path,
        rules: options.Rules,
        images: ImageBook,
        puller: Puller,
        folders: Folders,
        monotonic_ns: Callable[[], int],
    ) -> None:
        self._connection = connection
        self._home = work_home
        self._rules = rules
        self._images = images
        self._puller = puller
        self._folders = folders
        self._monotonic_ns = monotonic_ns
        self._reasons: dict[str, str] = {}
        self._samples: dict[str, usage.CpuSample] = {}
        self._limits: dict[str, int] = {}
        self._disk_quota: bool | None = None  # not known until a size was asked for

    def version(self) -> str:
        with self._connection.talk() as api:
            return str(api.version()["Version"])

    def listing(self) -> tuple[Work, ...]:
        """All containers of leases, of any installation, running or not."""
        with self._connection.talk() as api:
            found = api.containers(all=True, filters={"label": [options.LEASE]})
            works = [options.work_of(one, self._exit_reason(api, one)) for one in found]
        present = {work.ref for work in works if work is not None}
        for known in (self._reasons, self._samples, self._limits):
            for ref in set(known) - present:
                known.pop(ref, None)
        return tuple(work for work in works if work is not None)

    def start(self, order: Order, progress: Progress, given_up: threading.Event) -> None:
        """Pull if missing, create, start. Whatever fails, nothing is left."""
        life = Life()
        folders = self._folders.prepare(order.lease.launch.volumes)
        with self._connection.talk() as api:
            life.go(Step.PULL)
            with _step(life, Step.HAVE_IMAGE):
                self._have_image(api, order, progress, given_up)
            network = networks.make(api, order)
            try:
                with _step(life, Step.CREATE):
                    container = self._create(api, order, options.Place(network, folders))
                self._run(api, container, life, given_up)
            except (GanglionError, DockerException, requests.RequestException):
                networks.remove(api, network)
                raise

    def signal(self, work: Work, step: Step, name: str) -> bool:
        """Send a signal; False when the container is not running, or not ours any more."""
        with self._connection.talk() as api:
            stage = self._stage(api, work)
            if stage is None or not LIFE.can(stage, step):
                return False
            try:
                api.kill(work.ref, signal=name)
            except APIError as error:
                if error.status_code in (404, NAME_CLASH):  # gone, or not running
                    return False
                raise
            return True

    def running(self, work: Work) -> bool:
        with self._connection.talk() as api:
            try:
                return bool(api.inspect_container(work.ref)["State"]["Running"])
            except NotFound:
                return False

    def remove(self, work: Work) -> None:
        """Remove the container, its unnamed volumes and its network, if it carries this lease's
        labels. Raises ``StillRuns`` for one that runs."""
        with self._connection.talk() as api:
            stage = self._stage(api, work)
            if stage is not None and not LIFE.can(stage, Step.REMOVE):
                raise StillRuns("The container still runs after it was killed.")
            if stage is not None:
                removed(api, work.ref)
            if stage is not None or self._absent(api, work.ref):
                networks.remove(api, options.container_name(work.lease_id))

    def collect_logs(self, work: Work) -> None:
        with self._connection.talk() as api:
            output.collect(api, self._home, work.lease_id, work.ref)

    def usage(self, work: Work) -> WorkUsage | None:
        """One sample; None when the container is gone or does not run."""
        with self._connection.talk() as api:
            try:
                if work.ref not in self._limits:
                    made = api.inspect_container(work.ref)["HostConfig"]
                    self._limits[work.ref] = int(made.get("Memory") or 0) // options.MIB
                at_ns = self._monotonic_ns()
                found = api.stats(work.ref, stream=False, one_shot=True)
            except NotFound:
                return None
        if not found.get("cpu_stats", {}).get("system_cpu_usage"):
            return None
        before = self._samples.get(work.ref)
        told, self._samples[work.ref] = usage.usage_of(found, at_ns, self._limits[work.ref], before)
        return told

    def written_mib(self, work: Work) -> int | None:
        """How much the container has written beside its volumes. Docker walks its files."""
        with self._connection.talk() as api:
            found = api.containers(all=True, size=True, filters={"id": work.ref})
        return int(found[0].get("SizeRw") or 0) // options.MIB if found else None

    def tidy(self, installation_id: str, busy: set[str]) -> None:
        """Unused images beyond the limit, and networks of leases that are not ``busy``."""
        with self._connection.talk() as api:
            self._images.trim(api)
            networks.sweep(api, installation_id, busy)

    def gpu_trouble(self, work: Work) -> str:
        """Compare the GPUs that the driver's own program shows inside with those of the lease."""
        wanted = {uuid for uuid in work.gpu_uuids if not is_simulated(uuid)}
        if not wanted:
            return ""
        with self._connection.failures():
            api = self._connection.separate(INSIDE_SECONDS_MAX)  # the tenant may make it hang
            try:
                made = api.exec_create(work.ref, ["nvidia-smi", "-L"])
                shown: bytes = api.exec_start(made["Id"])
                code = api.exec_inspect(made["Id"])["ExitCode"]
            except APIError as error:
                if error.status_code in NO_ANSWER:
                    return ""
                raise
            finally:
                api.close()
        return gpus.trouble(wanted, code, shown.decode(errors="replace"))

    def holds(self) -> list[Hold]:
        with self._connection.talk() as api:
            return facts.holds_of(self._known(api), self._rules.runtime)

    def close(self) -> None:
        self._connection.close()

    def _known(self, api: Client) -> facts.Facts:
        """Read at each start anew: Docker may have been set up otherwise meanwhile."""
        return facts.facts_of(api.info())

    def _have_image(
        self, api: Client, order: Order, progress: Progress, given_up: threading.Event
    ) -> None:
        image = order.lease.launch.image
        login = order.secrets.registry if order.secrets is not None else None
        pulled = not self._images.has(api, image)
        if pulled:
            why = self._images.make_room(api)
            if why:
                raise StartFailed(f"The image {image} is not pulled: {why}")
            self._puller.pull(image, login, progress, given_up)
        private = pulled and login is not None
        self._images.used(api, image, pulled=pulled, private=private)

    def _run(self, api: Client, container: str, life: Life, given_up: threading.Event) -> None:
        try:
            if given_up.is_set():
                raise GivenUp("The lease ended during its start.")
            with _step(life, Step.START):
                api.start(container)
            if given_up.is_set():
                raise GivenUp("The lease ended during its start.")
        except APIError as error:
            removed(api, container)
            raise why_not_started(error) from error
        except (DockerException, requests.RequestException, GanglionError):
            removed(api, container)
            raise

    def _create(self, api: Client, order: Order, place: options.Place) -> str:
        """The new container's id. A container of ours that has the name is a failed start's."""
        name = options.container_name(order.lease.lease_id)
        quota = bool(order.lease.launch.disk_mib) and self._disk_quota is not False
        while True:
            chosen = options.Place(place.network, place.folders, disk_quota=quota)
            try:
                return self._created(api, order, name, chosen)
            except APIError as error:
                if quota and "storage-opt" in str(error.explanation):
                    quota = self._disk_quota = False  # its use is measured instead
                elif error.status_code != NAME_CLASH or not self._cleared(api, name, order):
                    raise why_not_started(error) from error

    def _created(self, api: Client, order: Order, name: str, place: options.Place) -> str:
        launch = order.lease.launch
        limits = options.host_options(order, self._rules, place, self._runtime(api, order))
        devices = options.wanted_devices(order)
        if devices:
            request = DeviceRequest(device_ids=devices, capabilities=[["gpu"]])
            limits["device_requests"] = [request]
        made = api.create_container(
            launch.image,
            command=options.arguments(launch, self._rules) or None,
            entrypoint=launch.command or None,
            name=name,
            labels=options.labels(order),
            environment=options.environment(order),
            ports=options.inner_ports(launch),
            host_config=api.create_host_config(**limits),
        )
        return str(made["Id"])

    def _runtime(self, api: Client, order: Order) -> str | None:
        with_gpus = bool(options.wanted_devices(order))
        return facts.runtime_for(self._known(api), self._rules.runtime, gpus=with_gpus)

    def _cleared(self, api: Client, name: str, order: Order) -> bool:
        """Remove a dead container of this very lease that holds the name; no other."""
        try:
            other = api.inspect_container(name)
        except NotFound:
            return True
        dead = LIFE.can(stage_of(str(other["State"]["Status"])), Step.REMOVE)
        if not dead or not _is_of(other, order.installation_id, order.lease.lease_id):
            return False
        removed(api, str(other["Id"]))
        return True

    def _stage(self, api: Client, work: Work) -> Stage | None:
        """Looked up again just before anything is done to it: ids are not reused, labels tell.
        None when it is gone, or is not this lease's."""
        try:
            seen = api.inspect_container(work.ref)
        except NotFound:
            return None
        ours = _is_of(seen, work.installation_id, work.lease_id)
        return stage_of(str(seen["State"]["Status"])) if ours else None

    def _absent(self, api: Client, ref: str) -> bool:
        try:
            api.inspect_container(ref)
        except NotFound:
            return True
        return False

    def _exit_reason(self, api: Client, container: dict[str, Any]) -> str:
        if options.phase_of(str(container["State"])) is Phase.RUNNING:
            return ""
        ref = str(container["Id"])
        if ref in self._reasons:
            return self._reasons[ref]
        try:
            seen = api.inspect_container(ref)
        except NotFound:
            return "The container is gone."
        memory_mib = int(seen["HostConfig"].get("Memory") or 0) // options.MIB
        reason = options.exit_reason(seen["State"], memory_mib)
        if stage_of(str(seen["State"]["Status"])) is Stage.EXITED:
            self._reasons[ref] = reason  # what was being made meanwhile may yet end otherwise
        return reason


def _is_of(seen: dict[str, Any], installation_id: str, lease_id: str) -> bool:
    """By the labels of an inspected container."""
    marks = seen["Config"]["Labels"] or {}
    return (marks.get(options.INSTALLATION), marks.get(options.LEASE)) == (
        installation_id,
        lease_id,
    )


@contextmanager
def _step(life: Life, step: Step) -> Iterator[None]:
    """Refuse a step that the table does not list, and take it when the call has returned."""
    after = LIFE.next(life.stage, step)
    yield
    life.stage = after
