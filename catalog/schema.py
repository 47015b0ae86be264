"""What a catalog file may say: one model, its shape, its licence, and how it is started."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, model_validator

from kernel.money import Money

ModelId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", max_length=96)]
Count = Annotated[int, Field(ge=1, le=10**13)]
Line = Annotated[str, Field(min_length=1, max_length=200)]
Dollars = Annotated[str, Field(pattern=r"^\d{1,6}(\.\d{1,9})?$")]


class Kind(StrEnum):
    """Which route of the inference API the model answers."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    TRANSCRIPTION = "transcription"


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
    STANDIN = "standin"


class Precision(StrEnum):
    """How numbers are stored, for weights and for the KV cache."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"  # groups of 128 with a 16-bit scale and a 4-bit zero point


class Part(BaseModel):
    """Unknown fields are refused: a misspelt one would be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Licence(Part):
    id: Line
    url: HttpUrl
    gated: bool = False  # the weights need a token of somebody who accepted the terms


class Shape(Part):
    """The numbers that memory follows from, as in the model's own ``config.json``.

    ``layers`` are those that keep a KV cache (the decoder's, in an encoder-decoder model).
    ``cross_tokens`` are the encoder's tokens that each sequence attends to besides its context.
    """

    parameters: Count
    layers: Count
    hidden: Count
    intermediate: Count
    attention_heads: Count
    kv_heads: Count
    head_dim: Count
    vocabulary: Count
    weights: Precision
    tied_embeddings: bool = False
    keeps_cache: bool = True
    cross_tokens: Annotated[int, Field(ge=0, le=10**6)] = 0

    @model_validator(mode="after")
    def _heads_divide(self) -> Shape:
        if self.attention_heads % self.kv_heads:
            raise ValueError("attention_heads must be a multiple of kv_heads")
        return self


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
    arguments: Annotated[list[Line], Field(max_length=64)] = []
    environment: dict[str, Line] = {}
    process: Annotated[list[Line], Field(max_length=64)] = []
    memory_mib: Annotated[int, Field(ge=0, le=4_194_304)] = 0
    shm_mib: Annotated[int, Field(ge=0, le=1_048_576)] = 1024
    start_seconds_max: Annotated[int, Field(ge=5, le=7200)] = 1800
    drain_seconds_max: Annotated[int, Field(ge=1, le=3600)] = 300


class Template(Part):
    """One model that can be deployed."""

    id: ModelId
    name: Line
    summary: Annotated[str, Field(min_length=1, max_length=600)]
    kind: Kind
    also: Annotated[list[Kind], Field(max_length=4)] = []  # further routes that it answers
    category: Category
    publisher: Line
    licence: Licence
    source: HttpUrl
    engine: Engine
    context_max: Count
    shape: Shape | None = None
    fixed_memory_mib: Annotated[int, Field(ge=0, le=4_194_304)] | None = None
    defaults: Defaults
    pool: Pool | None = None
    start: Start
    listed: bool = True  # False: can be deployed by name, but is not shown in the catalog
    format: Literal[1] = 1

    @model_validator(mode="after")
    def _memory_is_known(self) -> Template:
        if (self.shape is None) == (self.fixed_memory_mib is None):
            raise ValueError("give either shape or fixed_memory_mib, so that memory is known")
        if self.defaults.context > self.context_max:
            raise ValueError("defaults.context is larger than context_max")
        return self
