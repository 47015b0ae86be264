"""Values of a revision: everything that decides how a deployment's workers are made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from brain.deployments.models import Deployment
from brain.deployments.wishes import wishes_of
from brain.secrets import check_names
from catalog import Engine
from kernel.errors import BadInput

ARGUMENTS_MAX: Final = 32
# What an owner may say to the engine. Nothing that names a file, an address or code, as a worker
# may also run as a process of its node; nothing that changes the memory it was placed by.
ARGUMENTS: Final[Mapping[Engine, frozenset[str]]] = {
    Engine.VLLM: frozenset(
        {
            "--block-size",
            "--enable-chunked-prefill",
            "--no-enable-chunked-prefill",
            "--enable-prefix-caching",
            "--no-enable-prefix-caching",
            "--enforce-eager",
            "--max-logprobs",
            "--reasoning-parser",
            "--scheduling-policy",
            "--seed",
            "--tool-call-parser",
            "--enable-auto-tool-choice",
        }
    ),
    Engine.STANDIN: frozenset(
        {
            "--first-token-ms",
            "--load-seconds",
            "--max-num-seqs",
            "--on-stop",
            "--shutdown-timeout",
            "--tokens-per-second",
        }
    ),
}
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z")


@dataclass(frozen=True)
class Settings:
    """``wishes`` as in ``wishes.Wishes.kept``; ``secrets`` are names, never values."""

    model: str
    context: int
    concurrency: int
    gpu: str | None = None
    price_max_nano: int | None = None
    wishes: dict[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    def kept(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "context": self.context,
            "concurrency": self.concurrency,
            "gpu": self.gpu,
            "price_max_nano": self.price_max_nano,
            "wishes": self.wishes,
            "secrets": list(self.secrets),
            "arguments": list(self.arguments),
        }

    def write_to(self, row: Deployment) -> None:
        """Make these what the deployment asks of each new worker."""
        row.model, row.context, row.concurrency = self.model, self.context, self.concurrency
        row.gpu, row.price_max_nano = self.gpu, self.price_max_nano
        row.wishes = dict(self.wishes)
        row.secrets, row.arguments = list(self.secrets), list(self.arguments)


def settings_of(row: Deployment) -> Settings:
    """What the deployment asks of each new worker now."""
    return Settings(
        model=row.model,
        context=row.context,
        concurrency=row.concurrency,
        gpu=row.gpu,
        price_max_nano=row.price_max_nano,
        wishes=wishes_of(row.wishes).kept(),
        secrets=tuple(row.secrets),
        arguments=tuple(row.arguments),
    )


def read_settings(kept: Mapping[str, Any]) -> Settings:
    """As it was kept."""
    lists = {name: tuple(kept.get(name, ())) for name in ("secrets", "arguments")}
    return Settings(**{**kept, **lists})


def check_secrets(names: Iterable[str]) -> tuple[str, ...]:
    """Names only: whether they are there is looked at when a worker is placed."""
    return check_names(names)


def check_arguments(engine: Engine, arguments: Iterable[str]) -> tuple[str, ...]:
    """What may be added to the engine's arguments, or ``BadInput`` saying what may."""
    found = tuple(arguments)
    allowed = ARGUMENTS.get(engine, frozenset())
    if len(found) > ARGUMENTS_MAX:
        raise BadInput(f"At most {ARGUMENTS_MAX} arguments may be given.", param="arguments")
    takes_value = False
    for text in found:
        name, equals, value = text.partition("=")
        if name in allowed and (not equals or _VALUE.match(value)):
            takes_value = not equals
        elif takes_value and not text.startswith("-") and _VALUE.match(text):
            takes_value = False
        else:
            listed = ", ".join(sorted(allowed)) or "none"
            raise BadInput(
                f"{text[:80]!r} is no argument that may be given to {engine.value}."
                f" These may: {listed}.",
                param="arguments",
            )
    return found
