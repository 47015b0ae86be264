"""The brain's management API for the commands: one call a verb, problems as one sentence."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from cli.faults import CliError

SECONDS_MAX = 30.0
WAITS_MAX = 4  # how often a call waits because the brain says when to come back
WAIT_SECONDS_MAX = 30.0
PAGES_MAX = 1000
ADVICE = {
    401: "Log in first: ganglion login (or ganglion register for a new account).",
    402: "Add credit first; ganglion balance shows what is left.",
    403: "This needs another account or a key with more scopes.",
    404: "Look at the list first: the id or name may be another account's or mistyped.",
    429: "Wait a moment, then try again.",
    502: "The other side failed; try again, or look at: ganglion status",
    503: "Try again in a moment, or look at: ganglion status",
}


def needs_tls(url: str) -> bool:
    """Whether a client of this address has certificates to check. To read this machine's takes each
    client 20 ms of a core; over plain HTTP there are none, and redirects are not followed."""
    return not url.lower().startswith("http://")


class Refused(CliError):
    """The brain answered with a problem; ``status`` and ``problem`` as it sent them."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        super().__init__(detail, ADVICE.get(status, ""), code=str(problem.get("code", status)))
        self.status = status
        self.problem = dict(problem)


class Brain:
    """Answers are JSON as the API gives it: the commands show it, they do not model it."""

    def __init__(self, url: str, *, token: str = "", seconds_max: float = SECONDS_MAX) -> None:
        self.url = url.rstrip("/")
        headers = {"user-agent": "ganglion-cli"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        try:
            self._http = httpx.Client(
                base_url=self.url, headers=headers, timeout=seconds_max, verify=needs_tls(self.url)
            )
        except (httpx.InvalidURL, ValueError) as wrong:
            raise CliError(f"{url!r} is not an address: {wrong}.") from None

    def __enter__(self) -> Brain:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Any = None, *, key: str = "") -> Any:
        """``key`` is an idempotency key: the same one is carried out once."""
        return self._call("POST", path, body=body, key=key)

    def put(self, path: str, body: Any) -> Any:
        return self._call("PUT", path, body=body)

    def lines(self, path: str, **query: Any) -> Iterator[Any]:
        """An NDJSON answer, a value a line, as they come; ends when the brain ends it."""
        asked = {name: value for name, value in query.items() if value is not None}
        try:
            with self._http.stream("GET", path, params=asked) as answer:
                if not answer.is_success:
                    answer.read()
                    self._read(answer)
                for line in answer.iter_lines():
                    if line:
                        yield json.loads(line)
        except httpx.ConnectError:
            raise CliError(
                f"Nothing answers at {self.url}.", "Look at: ganglion status", code="unreachable"
            ) from None
        except (httpx.TransportError, json.JSONDecodeError) as failed:
            raise CliError(
                f"The stream from {self.url} broke: {failed}.", code="transport"
            ) from None

    def save(self, path: str, to: Path, **query: Any) -> int:
        """Write an answer that is no JSON to a file, as it comes; how many bytes."""
        asked = {name: value for name, value in query.items() if value is not None}
        written = 0
        try:
            with self._http.stream("GET", path, params=asked) as answer:
                if not answer.is_success:
                    answer.read()
                    self._read(answer)
                with to.open("wb") as file:
                    for part in answer.iter_bytes():
                        written += file.write(part)
        except httpx.TransportError as failed:
            raise CliError(f"The call to {self.url} failed: {failed}.", code="transport") from None
        except OSError as problem:
            raise CliError(f"{to} cannot be written: {problem.strerror}.") from None
        return written

    def patch(self, path: str, body: Any) -> Any:
        return self._call("PATCH", path, body=body)

    def delete(self, path: str, **query: Any) -> Any:
        return self._call("DELETE", path, query=query)

    def pages(self, path: str, *, most: int | None = None, **query: Any) -> Iterator[Any]:
        """Each item of a paged list, page after page, at most ``most``."""
        given = 0
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            limit = 200 if most is None else min(200, most - given)
            page = self.get(path, **query, limit=limit, cursor=cursor)
            for item in page["items"]:
                yield item
                given += 1
            cursor = page.get("next")
            if cursor is None or (most is not None and given >= most):
                return

    def _call(
        self, method: str, path: str, *, query: Any = None, body: Any = None, key: str = ""
    ) -> Any:
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        headers = {"idempotency-key": key} if key else {}
        for _ in range(WAITS_MAX):
            answer = self._send(method, path, params=asked, json=body, headers=headers)
            wait = _wait_seconds(answer)
            if wait is None:
                break
            time.sleep(wait)
        return self._read(answer)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.ConnectError:
            raise CliError(
                f"Nothing answers at {self.url}.",
                "Start it with: ganglion up (or name another with --brain-url or BRAIN_URL).",
                code="unreachable",
            ) from None
        except httpx.TimeoutException:
            raise CliError(
                f"{self.url} did not answer in time.", "Look at: ganglion status", code="timeout"
            ) from None
        except (httpx.TransportError, httpx.UnsupportedProtocol, httpx.InvalidURL) as failed:
            raise CliError(f"The call to {self.url} failed: {failed}.", code="transport") from None

    def _read(self, answer: httpx.Response) -> Any:
        if answer.status_code == 204:
            return None
        try:
            body = answer.json()
        except json.JSONDecodeError:
            body = None
        if answer.is_success and body is not None:
            return body
        if isinstance(body, dict):
            raise Refused(answer.status_code, body)
        raise CliError(
            f"What answers at {self.url} is not a Ganglion brain (HTTP {answer.status_code}).",
            "Name the right address with --brain-url or BRAIN_URL.",
        )


def _wait_seconds(answer: httpx.Response) -> float | None:
    """How long the brain asks to wait before the same call is made again; ``None``: it did not.

    A 429 means that nothing was done, so any call may be repeated.
    """
    told = answer.headers.get("retry-after", "")
    if answer.status_code != 429 or not told.isdigit() or int(told) > WAIT_SECONDS_MAX:
        return None
    return max(float(told), 0.1)
