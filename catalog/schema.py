"""What a catalog file may say: one model, its shape, its licence, and how it is started."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, HttpUrl, field_validator, model_validator

from catalog.shape import Count, Part, Precision, Shape
from kernel.errors import BadInput
from kernel.money import Money

ModelId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", max_length=80)]
Line = Annotated[str, Field(min_length=1, max_length=200)]
Dollars = Annotated[str, Field(pattern=r"^\d{1,6}(\.\d{1,9})?$")]
MiB = Annotated[int, Field(ge=0, le=4_194_304)]

# Licences of the SPDX list that models here bear; any other is named LicenseRef-... with a name.
SPDX = frozenset({"Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-NC-4.0", "OpenRAIL++-M"})


class Kind(StrEnum):
    """Which routes of the inference API the model answers."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    RERANK = "rerank"
    TRANSCRIPTION = "transcription"
    SPEECH = "speech"
    IMAGE = "image"
    VIDEO = "video"


ROUTES = {
    Kind.CHAT: ("/v1/chat/completions", "/v1/completions"),
    Kind.EMBEDDING: ("/v1/embeddings",),
    Kind.RERANK: ("/v1/rerank", "/v1/score"),
    Kind.TRANSCRIPTION: ("/v1/audio/transcriptions", "/v1/audio/translations"),
    Kind.SPEECH: ("/v1/audio/speech",),
    Kind.IMAGE: ("/v1/images/generations",),
    Kind.VIDEO: ("/v1/videos",),
}


class Category(StrEnum):
    """The shelf it stands on in the catalog."""

    TEXT = "TEXT"
    CODE = "CODE"
    VISION = "VISION"
    EMBEDDING = "EMBEDDING"
    AUDIO = "AUDIO"
    IMAGE = "IMAGE"
    VIDEO = "VIDEO"


class Engine(StrEnum):
    VLLM = "vllm"
    VLLM_OMNI = "vllm-omni"  # vLLM's sister for speech, pictures and video; speaks its HTTP
    STANDIN = "standin"


class Licence(Part):
    """``id`` is of the SPDX list, or ``LicenseRef-...`` with the licence's own ``name``."""

    id: Line
    url: HttpUrl
    name: Line | None = None
    gated: bool = False  # the weights need a token of somebody who accepted the terms

    @model_validator(mode="after")
    def _is_known(self) -> Licence:
        if self.id in SPDX:
            return self
        if not re.match(r"^LicenseRef-[\w.-]+$", self.id):
            raise ValueError(
                f"id {self.id!r} is neither an SPDX id known here ({', '.join(sorted(SPDX))}) "
                "nor LicenseRef-...; correct it, or add the SPDX id to catalog/schema.py"
            )
        if self.name is None:
            raise ValueError("a LicenseRef-... also needs name, as its publisher calls it")
        return self


class Quantisation(Part):
    """The same model with other weights, offered as ``<model id>:<id>``.

    Without ``repository`` the engine quantises the model's own weights as it loads them.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,14}$")]
    weights: Precision
    repository: ModelId | None = None
    weight_bytes: Count | None = None  # of the published files, where they are known
    weight_block: Count = 1
    arguments: Annotated[tuple[Line, ...], Field(max_length=16)] = ()


class MemoryLine(Part):
    """One figure of an engine whose memory does not follow from a shape, and who says so."""

    label: Annotated[str, Field(min_length=1, max_length=40)]
    mib: MiB
    how: Line
    source: HttpUrl


class Measured(Part):
    """What starts have shown: so much more (below 0: less) on each of so many GPUs."""

    gpus: Annotated[int, Field(ge=1)]
    mib: int
    how: Line


class Defaults(Part):
    """What a deployment gets when it does not say."""

    context: Count
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    batched_tokens: Annotated[int, Field(ge=256, le=131_072)] = 8192
    kv_cache: Precision | None = None  # None = as the weights are computed (16 bits)


class Pool(Part):
    """The shared pool's published price, and ceilings per 1,000 tokens."""

    price_usd_per_gpu_hour: Dollars
    ceiling_usd_per_1k_prompt: Dollars = "0"
    ceiling_usd_per_1k_completion: Dollars = "0"

    @property
    def rate_nano(self) -> int:
        return Money.usd(self.price_usd_per_gpu_hour).nano

    @property
    def ceiling_prompt_nano(self) -> int:
        return Money.usd(self.ceiling_usd_per_1k_prompt).nano

    @property
    def ceiling_completion_nano(self) -> int:
        return Money.usd(self.ceiling_usd_per_1k_completion).nano


class Start(Part):
    """How the engine is started and how long that may take."""

    image: Line
    arguments: Annotated[tuple[Line, ...], Field(max_length=64)] = ()
    environment: dict[str, Line] = Field(default_factory=dict)
    process: Annotated[tuple[Line, ...], Field(max_length=64)] = ()
    memory_mib: MiB = 0
    shm_mib: Annotated[int, Field(ge=0, le=1_048_576)] = 1024
    start_seconds_max: Annotated[int, Field(ge=5, le=7200)] = 1800
    drain_seconds_max: Annotated[int, Field(ge=1, le=3600)] = 300


class Template(Part):
    """One model that can be deployed.

    Its memory is known in one of three ways: from a ``shape``, from published figures
    (``memory``), or as one number (``fixed_memory_mib``).
    """

    id: ModelId
    name: Line
    summary: Annotated[str, Field(min_length=1, max_length=600)]
    aliases: Annotated[tuple[ModelId, ...], Field(max_length=8)] = ()
    kind: Kind
    also: Annotated[tuple[Kind, ...], Field(max_length=4)] = ()  # further kinds that it answers
    category: Category
    publisher: Line
    licence: Licence
    source: HttpUrl
    figures: HttpUrl | None = None  # where the numbers of ``shape`` are published
    engine: Engine
    context_max: Count
    shape: Shape | None = None
    memory: Annotated[tuple[MemoryLine, ...], Field(max_length=8)] = ()
    fixed_memory_mib: MiB | None = None
    quantisations: Annotated[tuple[Quantisation, ...], Field(max_length=6)] = ()
    defaults: Defaults
    pool: Pool | None = None
    start: Start
    listed: bool = True  # False: can be deployed by name, but is not shown in the catalog
    format: Literal[1] = 1
    repository: ModelId | None = None  # whose weights are loaded, where that is not the id
    quantisation: str = ""  # which of ``quantisations`` this is; "" in a file
    measured: tuple[Measured, ...] = ()  # by starts of this installation; empty in a file

    @field_validator("repository", "quantisation", "measured")
    @classmethod
    def _is_not_written(cls, value: object) -> object:
        if value:
            raise ValueError("is not written in a file; quantisations and starts make it")
        return value

    @model_validator(mode="after")
    def _memory_is_known(self) -> Template:
        ways = [self.shape is not None, bool(self.memory), self.fixed_memory_mib is not None]
        if sum(ways) != 1:
            raise ValueError(
                "give exactly one of shape, memory and fixed_memory_mib, so that memory is known"
            )
        if self.shape is not None and self.figures is None:
            raise ValueError("figures is missing: name the config.json that shape is taken from")
        if self.defaults.context > self.context_max:
            raise ValueError("defaults.context is larger than context_max")
        return self

    @model_validator(mode="after")
    def _quantisations_differ(self) -> Template:
        names = [one.id for one in self.quantisations]
        if len(set(names)) < len(names):
            raise ValueError(f"quantisations: each id once; there are {', '.join(names)}")
        if names and self.shape is None:
            raise ValueError("quantisations need a shape, so that their memory is known")
        return self

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return (self.kind, *(kind for kind in self.also if kind is not self.kind))

    @property
    def routes(self) -> tuple[str, ...]:
        """Paths of the inference API that its engine answers."""
        return tuple(route for kind in self.kinds for route in ROUTES[kind])

    def quantised(self, name: str) -> Template:
        """The same model with the weights of one of ``quantisations``; ``BadInput`` if it has
        none of that name. Its id is ``<model id>:<name>``."""
        found = next((one for one in self.quantisations if one.id == name), None)
        if found is None or self.shape is None:
            offered = ", ".join(one.id for one in self.quantisations) or "none"
            raise BadInput(
                f"{self.id} is not offered as {name[:40]!r}. Quantisations offered: {offered}.",
                code="quantisation_unknown",
                param="quantisation",
            )
        weights = {
            "weights": found.weights,
            "weight_bytes": found.weight_bytes,
            "weight_block": found.weight_block,
        }
        arguments = (*self.start.arguments, *found.arguments)
        return self.model_copy(
            update={
                "id": f"{self.id}:{name}",
                "aliases": (),
                "quantisation": name,
                "quantisations": (),
                "repository": found.repository or self.id,
                "shape": self.shape.model_copy(update=weights),
                "start": self.start.model_copy(update={"arguments": arguments}),
            }
        )
