"""The SDK's client with limits on every call, and Docker's failures in the agent's words."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import docker
import requests
from docker import auth
from docker.errors import APIError, DockerException, NotFound
from docker.utils import parse_repository_tag
from urllib3.exceptions import HTTPError

from kernel.wire.agent import RegistryLogin
from node_agent.engine import EngineAway, StartFailed, StartRefused

CALL_SECONDS_MAX = 30
NAME_CLASH = 409
WORDS_MAX = 1000
SOCKET = "unix:///var/run/docker.sock"
DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


class GivenUp(StartFailed):
    """The lease ended while its container was being started."""


class Client(docker.APIClient):
    """The SDK waits for a pull without limit; here every call has one."""

    def __init__(self, address: str, *, seconds: float = CALL_SECONDS_MAX) -> None:
        self._seconds = seconds
        super().__init__(base_url=address, version="auto", timeout=int(seconds))

    def _set_request_timeout(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._seconds
        return kwargs

    def pull_lines(self, image: str, login: RegistryLogin | None) -> PullLines:
        """Begin a pull. The host's own logins are never used for a tenant's image."""
        repository, tag = parse_repository_tag(image)
        header = auth.encode_header(_login_for(image, login))
        sdk: Any = self  # its types do not list what it hands to its own subclasses
        answer = sdk._post(
            sdk._url("/images/create"),
            params={"fromImage": repository, "tag": tag or "latest"},
            headers={"X-Registry-Auth": header},
            stream=True,
            timeout=None,
        )
        sdk._raise_for_status(answer)
        lines = sdk._stream_helper(answer, decode=True)
        return PullLines(answer, lines)


class PullLines:
    """The progress of a pull as it comes; ``close`` ends it from any thread, and Docker's too."""

    def __init__(self, answer: requests.Response, lines: Iterator[dict[str, Any]]) -> None:
        self._answer = answer
        self._lines = lines

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self._lines

    def close(self) -> None:
        stream: Any = self._answer.raw
        with suppress(AttributeError, OSError):  # it has ended by itself meanwhile
            stream._fp.fp.raw._sock.shutdown(socket.SHUT_RDWR)


class Connection:
    """One client to one Docker, made at the first call and kept."""

    def __init__(self, docker_host: str | None) -> None:
        self.address = docker_host or SOCKET
        self._lock = threading.Lock()
        self._client: Client | None = None

    @contextmanager
    def talk(self) -> Iterator[Client]:
        """The client; failures to reach the engine come out as ``EngineAway``."""
        with self.failures():
            with self._lock:
                if self._client is None:
                    self._client = Client(self.address)
                client = self._client
            yield client

    @contextmanager
    def failures(self) -> Iterator[None]:
        try:
            yield
        except (requests.RequestException, DockerException, HTTPError) as error:
            if isinstance(error, APIError) and error.response is not None:
                raise EngineAway(f"Docker answers: {words(error)}", internal=error) from error
            raise EngineAway(
                f"Docker at {self.address} does not answer. Is it running, and may this user"
                " use it?",
                internal=error,
            ) from error

    def separate(self, seconds: float) -> Client:
        """A client of its own for a call that may be left alone."""
        return Client(self.address, seconds=seconds)

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def registry_of(image: str) -> str:
    """The registry that this image is pulled from, ``docker.io`` for Docker's own."""
    server, _ = auth.resolve_repository_name(image)
    return str(server)


def words(error: APIError) -> str:
    return str(error.explanation or error)[:WORDS_MAX]


_REFUSALS: tuple[tuple[str, str], ...] = (
    (
        "could not select device driver",
        "Docker on this host cannot give GPUs to containers: install the NVIDIA Container"
        " Toolkit and restart Docker.",
    ),
    (
        "nvidia-container-cli",
        "The NVIDIA driver of this host could not be given to the container: {words}",
    ),
    (
        "unknown or invalid runtime name",
        "Docker on this host does not have the runtime that DOCKER_RUNTIME names: {words}",
    ),
)
_FAILURES: tuple[tuple[str, str], ...] = (
    ("port is already allocated", "A port of this host is taken by another program: {words}"),
    ("address already in use", "A port of this host is taken by another program: {words}"),
    ("could not find an available", "Docker has no free addresses for one more network: {words}"),
    ("all predefined address pools", "Docker has no free addresses for one more network: {words}"),
    ("no space left on device", "The disk of this host is full: {words}"),
)


def why_not_started(error: APIError) -> StartFailed | StartRefused:
    """A failed start in words that say what to do; refused where no second try can do better."""
    said = words(error)
    for sign, text in _REFUSALS:
        if sign in said:
            return StartRefused(text.format(words=said))
    for sign, text in _FAILURES:
        if sign in said:
            return StartFailed(text.format(words=said))
    if isinstance(error, NotFound) or "no such file" in said or "not found" in said:
        return StartRefused(f"The container cannot be started: {said}")
    return StartFailed(f"The container cannot be started: {said}")


def removed(api: Client, ref: str) -> None:
    """Remove a container with its unnamed volumes; one that is gone is removed."""
    try:
        api.remove_container(ref, force=True, v=True)
    except APIError as error:
        if error.status_code not in (404, NAME_CLASH):  # gone, or being removed already
            raise


def _login_for(image: str, login: RegistryLogin | None) -> dict[str, str]:
    """The login, if it is for the registry of this image; a password goes nowhere else."""
    if login is None:
        return {}
    registry = registry_of(image)
    server = login.server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    same = server == registry or (registry in DOCKER_HUB and server in DOCKER_HUB)
    if not same:
        raise StartRefused(
            f"The credentials are for the registry {server}, and the image is of {registry}:"
            " choose the credentials of that registry."
        )
    return {"username": login.username, "password": login.password, "serveraddress": server}
