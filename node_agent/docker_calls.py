"""The blocking calls to Docker, each with its limit, each safe to repeat."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import msgspec
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest

from node_agent import docker_options as options
from node_agent.engine import EngineAway, Order, StartFailed, StartRefused, log_path
from node_agent.files import read_if_there, write_private
from node_agent.records import Phase, Work
from node_agent.report import Progress

CALL_SECONDS_MAX = 30
PULL_STALL_SECONDS_MAX = 300
LOG_BYTES_A_CALL_MAX = 4 << 20
NAME_CLASH = 409
SOCKET = "unix:///var/run/docker.sock"


class _Client(docker.APIClient):
    """The SDK pulls with no limit at all; here a pull that stalls fails."""

    def _set_request_timeout(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if kwargs.get("timeout", ...) is None:
            kwargs["timeout"] = PULL_STALL_SECONDS_MAX
        kwargs.setdefault("timeout", CALL_SECONDS_MAX)
        return kwargs


class GivenUp(StartFailed):
    """The lease ended while its container was being started."""


class DockerCalls:
    """Connects at the first call, and again after the engine was away."""

    def __init__(self, work_home: Path, *, docker_host: str | None, runtime: str | None) -> None:
        self._home = work_home
        self._address = docker_host or SOCKET
        self._runtime = runtime
        self._lock = threading.Lock()
        self._client: docker.APIClient | None = None
        self._reasons: dict[str, str] = {}

    def version(self) -> str:
        with self._talk() as api:
            return str(api.version()["Version"])

    def listing(self) -> tuple[Work, ...]:
        """All containers of leases, of any installation, running or not."""
        with self._talk() as api:
            found = api.containers(all=True, filters={"label": [options.LEASE]})
            works = [options.work_of(one, self._exit_reason(api, one)) for one in found]
        present = {work.ref for work in works if work is not None}
        self._reasons = {ref: text for ref, text in self._reasons.items() if ref in present}
        return tuple(work for work in works if work is not None)

    def start(self, order: Order, progress: Progress, given_up: threading.Event) -> None:
        """Pull if missing, create, start. Whatever fails, no container is left."""
        with self._talk() as api:
            self._pull(api, order.lease.launch.image, progress, given_up)
            container = self._create(api, order)
            try:
                if given_up.is_set():
                    raise GivenUp("The lease ended during its start.")
                api.start(container)
                if given_up.is_set():
                    raise GivenUp("The lease ended during its start.")
            except APIError as error:
                _remove(api, container)
                raise _why_not_started(error) from error
            except (DockerException, requests.RequestException, GivenUp):
                _remove(api, container)
                raise

    def signal(self, work: Work, name: str) -> bool:
        """Send a signal; False when the container is not running, or not ours any more."""
        with self._talk() as api:
            if not self._is_ours(api, work):
                return False
            try:
                api.kill(work.ref, signal=name)
            except APIError as error:
                if error.status_code in (404, NAME_CLASH):  # gone, or not running
                    return False
                raise
            return True

    def running(self, work: Work) -> bool:
        with self._talk() as api:
            try:
                return bool(api.inspect_container(work.ref)["State"]["Running"])
            except NotFound:
                return False

    def remove(self, work: Work) -> None:
        """Remove the container and its volumes, if it still carries this lease's labels."""
        with self._talk() as api:
            if self._is_ours(api, work):
                _remove(api, work.ref)

    def collect_logs(self, work: Work) -> None:
        """Append what was printed since the last call to the lease's log file."""
        mark_file = self._home / work.lease_id / "docker-log.json"
        marks: dict[str, str] = msgspec.json.decode(read_if_there(mark_file) or b"{}")
        last = marks.get(work.ref, "")
        with self._talk() as api:
            try:
                block, newest = _printed_after(api, work.ref, last)
            except NotFound:
                return
        if not block:
            return
        path = log_path(self._home, work.lease_id)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("ab") as file:
            file.write(block)
        write_private(mark_file, msgspec.json.encode({work.ref: newest}))

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    @contextmanager
    def _talk(self) -> Iterator[docker.APIClient]:
        """A client; failures to reach the engine come out as ``EngineAway``."""
        try:
            with self._lock:
                if self._client is None:
                    self._client = _Client(
                        base_url=self._address, version="auto", timeout=CALL_SECONDS_MAX
                    )
                client = self._client
            yield client
        except (requests.RequestException, DockerException) as error:
            if isinstance(error, APIError) and error.response is not None:
                raise EngineAway(f"Docker answers: {_words(error)}", internal=error) from error
            raise EngineAway(
                f"Docker at {self._address} does not answer. Is it running, and may this user"
                " use it?",
                internal=error,
            ) from error

    def _pull(
        self, api: docker.APIClient, image: str, progress: Progress, given_up: threading.Event
    ) -> None:
        try:
            api.inspect_image(image)  # type: ignore[no-untyped-call]
            return
        except ImageNotFound:
            count = options.PullCount()
        try:
            for line in api.pull(image, stream=True, decode=True):
                progress.done_mib, progress.total_mib = count.take(line)
                if "error" in line:
                    raise StartFailed(f"The image {image} cannot be pulled: {line['error']}")
                if given_up.is_set():
                    raise GivenUp("The lease ended during its pull.")
        except NotFound as error:
            raise StartRefused(f"There is no image {image}: {_words(error)}") from error
        except APIError as error:
            raise StartFailed(f"The image {image} cannot be pulled: {_words(error)}") from error

    def _create(self, api: docker.APIClient, order: Order) -> str:
        """The new container's id. A container of ours that has the name is a failed start's."""
        launch = order.lease.launch
        limits = options.host_options(order, self._runtime)
        devices = options.wanted_devices(order)
        if devices:
            request = DeviceRequest(device_ids=devices, capabilities=[["gpu"]])
            limits["device_requests"] = [request]
        name = options.container_name(order.lease.lease_id)
        for last_try in (False, True):
            try:
                made = api.create_container(
                    launch.image,
                    command=options.arguments(launch),
                    name=name,
                    labels=options.labels(order),
                    environment=dict(launch.environment),
                    ports=[launch.port],
                    host_config=api.create_host_config(**limits),
                )
                return str(made["Id"])
            except APIError as error:
                clash = error.status_code == NAME_CLASH and not last_try
                if not clash or not self._cleared(api, name, order):
                    raise _why_not_started(error) from error
        raise StartFailed(f"The container name {name} is taken.")

    def _cleared(self, api: docker.APIClient, name: str, order: Order) -> bool:
        """Remove a dead container of this very lease that holds the name; no other."""
        try:
            other = api.inspect_container(name)
        except NotFound:
            return True
        marks = other["Config"]["Labels"] or {}
        ours = marks.get(options.INSTALLATION) == order.installation_id
        same = marks.get(options.LEASE) == order.lease.lease_id
        if not ours or not same or other["State"]["Running"]:
            return False
        _remove(api, str(other["Id"]))
        return True

    def _is_ours(self, api: docker.APIClient, work: Work) -> bool:
        """Looked up again just before anything is done to it: ids are not reused, labels tell."""
        try:
            marks = api.inspect_container(work.ref)["Config"]["Labels"] or {}
        except NotFound:
            return False
        return bool(
            marks.get(options.INSTALLATION) == work.installation_id
            and marks.get(options.LEASE) == work.lease_id
        )

    def _exit_reason(self, api: docker.APIClient, container: dict[str, Any]) -> str:
        if options.phase_of(str(container["State"])) is Phase.RUNNING:
            return ""
        ref = str(container["Id"])
        if ref not in self._reasons:
            try:
                seen = api.inspect_container(ref)
            except NotFound:
                return "The container is gone."
            memory_mib = int(seen["HostConfig"].get("Memory") or 0) // options.MIB
            self._reasons[ref] = options.exit_reason(seen["State"], memory_mib)
        return self._reasons[ref]


def _printed_after(api: docker.APIClient, ref: str, last: str) -> tuple[bytes, str]:
    """Lines with a time stamp after ``last`` (RFC 3339 with nine digits, so text compares)."""
    block, newest = bytearray(), last
    since = _seconds_of(last)
    rest = b""
    for piece in api.logs(ref, stream=True, follow=False, timestamps=True, since=since):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            stamp, _, text = line.partition(b" ")
            at = stamp.decode("ascii", errors="replace")
            if at > last:
                block += text + b"\n"
                newest = max(newest, at)
        if len(block) > LOG_BYTES_A_CALL_MAX:
            break
    return bytes(block), newest


def _seconds_of(stamp: str) -> float | None:
    if not stamp:
        return None
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(whole + "+00:00").timestamp()
    # A microsecond less: a double cannot hold nine digits after the point.
    return seconds + float(f"0.{fraction or '0'}") - 1e-6


def _remove(api: docker.APIClient, ref: str) -> None:
    try:
        api.remove_container(ref, force=True, v=True)
    except APIError as error:
        if error.status_code not in (404, NAME_CLASH):  # gone, or being removed already
            raise


def _why_not_started(error: APIError) -> StartFailed | StartRefused:
    words = _words(error)
    if "could not select device driver" in words:
        return StartRefused(
            "Docker on this host cannot give GPUs to containers: install the NVIDIA Container"
            " Toolkit and restart Docker."
        )
    if isinstance(error, NotFound) or "no such file" in words or "not found" in words:
        return StartRefused(f"The container cannot be started: {words}")
    return StartFailed(f"The container cannot be started: {words}")


def _words(error: APIError) -> str:
    return str(error.explanation or error)[:1000]
