"""What the commands share: options, the client with the log-in, names for ids, waiting."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.faults import CliError

if TYPE_CHECKING:
    from cli.client import Brain
    from cli.credentials import Credentials
    from cli.settings import RunnerSettings

Json = Annotated[bool, typer.Option("--json", help="One JSON document for machines.")]
BrainUrl = Annotated[
    str | None, typer.Option("--brain-url", help="The brain's address (BRAIN_URL).")
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most rows to show.")]
LOOK_SECONDS = 0.5
LOCAL_BRAIN = "http://127.0.0.1:8000"
LOCAL_GATEWAY = "http://127.0.0.1:8080"


def saved() -> tuple[RunnerSettings, Credentials]:
    from cli import credentials, settings

    loaded = settings.load()
    return loaded, credentials.load(loaded)


def address(brain_url: str | None) -> str:
    """The brain's address: as said, as set, as at the last log-in, of the local run, default."""
    from cli.supervisor.home import Home

    settings, known = saved()
    local = str(Home(settings.home).state().get("brain_url", ""))
    return brain_url or settings.brain_url or known.brain_url or local or LOCAL_BRAIN


def stranger(brain_url: str | None) -> Brain:
    """The brain's API without a credential."""
    from cli.client import Brain

    return Brain(address(brain_url))


def connect(brain_url: str | None, *, user: bool = False) -> Brain:
    """The brain's API as the saved account.

    The log-in's token while it lasts; then the API key, which some routes (``user``) refuse.
    """
    from cli.client import Brain
    from kernel.clock import NS, SystemClock

    _, known = saved()
    fresh = bool(known.access_token) and known.expires_at > SystemClock().now_ns() // NS
    if not known.access_token and not known.api_key:
        raise CliError(
            "Nobody is logged in.",
            "Log in with: ganglion login (new here: ganglion register).",
            code="logged_out",
        )
    if not fresh and (user or not known.api_key):
        raise CliError(
            f"The log-in of {known.email or 'this account'} has ended.",
            "Log in again with: ganglion login",
            code="logged_out",
        )
    return Brain(address(brain_url), token=known.access_token if fresh else known.api_key)


def find_deployment(brain: Brain, text: str) -> str:
    """The id of a deployment named by its id or its name (the newest of that name)."""
    if text.startswith("dep_"):
        return text
    for item in brain.pages("/api/v1/deployments"):
        if item["name"] == text:
            return str(item["deployment_id"])
    raise CliError(
        f"You have no deployment called {text[:80]!r}.",
        "ganglion deployments list shows what you have.",
        code="not_found",
    )


def listed(brain: Brain, path: str, limit: int, **query: Any) -> list[Any]:
    return list(brain.pages(path, most=limit, **query))


def given(**asked: Any) -> dict[str, Any]:
    """What was asked for; the rest is the brain's to choose."""
    return {field: value for field, value in asked.items() if value is not None}


def looks(brain: Brain, path: str, seconds_max: float) -> Iterator[tuple[float, Any]]:
    """What stands at ``path``, looked at each half second, with the seconds since the first look.
    A person sees that it waits, between the looks alone: who looks may print.

    It ends after ``seconds_max``: what the caller waits for did not come.
    """
    from cli.output import waiting
    from kernel.clock import NS, SystemClock

    clock = SystemClock()
    began, seconds = clock.monotonic_ns(), 0.0
    while seconds <= seconds_max:
        found = brain.get(path)
        seconds = (clock.monotonic_ns() - began) / NS
        yield seconds, found
        with waiting(f"{seconds:6.1f} s  waiting"):
            pause(LOOK_SECONDS)


def pause(seconds: float) -> None:
    import time

    time.sleep(seconds)


def read_secret(prompt: str) -> str:
    """Asked for unseen at a terminal; from a pipe the whole of it, less one line end."""
    if sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True))
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")
