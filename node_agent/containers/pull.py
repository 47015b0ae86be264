"""A pull with progress in bytes that ends when it stalls, takes too long, or is given up.

The SDK's reading blocks, so the pull has a thread and a client of its own: the job looks at it
from outside, and can leave it at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests
from docker.errors import APIError, DockerException, NotFound
from urllib3.exceptions import HTTPError

from kernel.clock import NS
from kernel.errors import GanglionError
from kernel.wire.agent import RegistryLogin
from node_agent.containers.client import Connection, GivenUp, PullLines, registry_of, words
from node_agent.engine import StartFailed, StartRefused
from node_agent.report import Progress

MIB = 1 << 20
LOOK_SECONDS = 0.1
SOCKET_SLACK_SECONDS = 30.0  # its own limit ends a thread that was left
ROOM_PACE_NS = 2 * NS
_STEPS = {
    "Pulling fs layer",
    "Verifying Checksum",
    "Download complete",
    "Pull complete",
    "Already exists",
}
# In what Docker says of a registry that does not know, or does not let in, who asks.
_KEPT_OUT = (
    "unauthorized",
    "no basic auth credentials",
    "authentication required",
    "access denied",
    "access to the resource is denied",
    "incorrect username or password",
)


@dataclass(frozen=True)
class PullLimits:
    stall_seconds: float = 120.0  # without a byte
    total_seconds: float = 3600.0


class PullCount:
    """Sums the layers of a pull as its progress lines come in."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self.moves = 0  # rises with every byte or step; "Retrying in 5 s" is neither

    def take(self, line: Mapping[str, Any]) -> tuple[int, int]:
        """MiB done and known of; the total grows while layers are still being found."""
        layer, status = line.get("id"), line.get("status")
        detail = line.get("progressDetail") or {}
        if layer and status == "Downloading" and detail.get("total"):
            self._total[layer] = int(detail["total"])
            self._done[layer] = int(detail.get("current", 0))
        elif layer and status in ("Download complete", "Pull complete"):
            self._done[layer] = self._total.get(layer, 0)
        if status in _STEPS or detail.get("current"):
            self.moves += 1
        return sum(self._done.values()) // MIB, sum(self._total.values()) // MIB


class _Stream:
    """The pull in its thread. What it found is read from outside."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._left = threading.Event()
        self._lines: PullLines | None = None
        self.count = PullCount()
        self.progress = (0, 0)
        self.error: Exception | None = None

    def run(self, image: str, login: RegistryLogin | None) -> None:
        try:
            api = self._connection.separate(self._seconds)
            try:
                self._lines = api.pull_lines(image, login)
                if self._left.is_set():
                    self._lines.close()
                for line in self._lines:
                    self.progress = self.count.take(line)
                    if "error" in line:
                        raise not_pulled(image, login, str(line["error"]))
            finally:
                api.close()
        except Exception as error:
            self.error = error

    def leave(self) -> None:
        """End it, and Docker's work on it, as soon as it can be ended."""
        self._left.set()
        if self._lines is not None:
            self._lines.close()


@dataclass(frozen=True)
class Puller:
    """``room``: why there is no room for more on the disk, or an empty text."""

    connection: Connection
    limits: PullLimits
    monotonic_ns: Callable[[], int]
    room: Callable[[], str]

    def pull(
        self,
        image: str,
        login: RegistryLogin | None,
        progress: Progress,
        given_up: threading.Event,
    ) -> None:
        """Returns when the image is there; raises ``StartFailed`` or ``StartRefused``."""
        stream = _Stream(self.connection, self.limits.stall_seconds + SOCKET_SLACK_SECONDS)
        thread = threading.Thread(target=stream.run, args=(image, login), daemon=True)
        thread.start()
        began_ns = moved_ns = roomy_ns = self.monotonic_ns()
        moves = 0
        try:
            while thread.is_alive():
                thread.join(LOOK_SECONDS)
                now_ns = self.monotonic_ns()
                progress.done_mib, progress.total_mib = stream.progress
                if given_up.is_set():
                    raise GivenUp("The lease ended during its pull.")
                if stream.count.moves != moves:
                    moves, moved_ns = stream.count.moves, now_ns
                self._in_time(image, now_ns - began_ns, now_ns - moved_ns)
                if now_ns - roomy_ns >= ROOM_PACE_NS:
                    roomy_ns = now_ns
                    self._roomy(image)
        finally:
            stream.leave()
        if stream.error is not None:
            raise self._told(image, login, stream.error)

    def _in_time(self, image: str, took_ns: int, still_ns: int) -> None:
        if still_ns >= self.limits.stall_seconds * NS:
            raise StartFailed(
                f"The pull of {image} stalled: no byte came for {self.limits.stall_seconds:.0f} s."
                " Does this host reach the registry?"
            )
        if took_ns >= self.limits.total_seconds * NS:
            raise StartFailed(
                f"The pull of {image} was given up after {self.limits.total_seconds:.0f} s."
            )

    def _roomy(self, image: str) -> None:
        why = self.room()
        if why:
            raise StartFailed(f"The pull of {image} was given up: {why}")

    def _told(self, image: str, login: RegistryLogin | None, error: Exception) -> GanglionError:
        if isinstance(error, GanglionError):
            return error
        if isinstance(error, APIError) and error.response is not None:
            missing = isinstance(error, NotFound)
            return not_pulled(image, login, words(error), missing=missing)
        if isinstance(error, HTTPError):  # the SDK's stream lets urllib3's own errors through
            return StartFailed(f"The pull of {image} was cut off: {type(error).__name__}.")
        if isinstance(error, (requests.RequestException, DockerException, OSError)):
            with suppress(GanglionError), self.connection.failures():
                raise error
            return StartFailed(f"The pull of {image} was cut off: {type(error).__name__}.")
        raise error


def not_pulled(
    image: str, login: RegistryLogin | None, said: str, *, missing: bool = False
) -> StartFailed | StartRefused:
    """Why, in words that name the registry and say what to do; ``said`` is Docker's.

    A registry that keeps us out would at a second try, too. Docker Hub says of a private image
    that it is missing.
    """
    server = registry_of(image)
    if any(sign in said.lower() for sign in _KEPT_OUT):
        if login is None:
            return StartRefused(
                f"The registry {server} does not give the image {image} to everybody: choose"
                f" credentials for it. ({said})"
            )
        return StartRefused(
            f"The registry {server} refuses the credentials for the image {image}: check their"
            f" user name and password, and that they may read it. ({said})"
        )
    if missing:
        return StartRefused(f"There is no image {image}: {said}")
    return StartFailed(f"The image {image} cannot be pulled: {said}")
