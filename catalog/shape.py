"""What a model's memory follows from: its shape, as its own ``config.json`` tells it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1, le=10**13)]
Amount = Annotated[int, Field(ge=0, le=10**13)]


class Precision(StrEnum):
    """How numbers are stored, for weights and for the KV cache."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"  # groups of 128 with a 16-bit scale and a 4-bit zero point
    MXFP4 = "mxfp4"  # groups of 32 with an 8-bit scale


class Part(BaseModel):
    """Unknown fields are refused: a misspelt one would be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Experts(Part):
    """Of ``count`` experts of this ``width`` a token passes ``active``, and each ``shared`` one."""

    count: Count
    active: Count
    width: Count
    shared: Amount = 0

    @model_validator(mode="after")
    def _active_are_some(self) -> Experts:
        if self.active > self.count:
            raise ValueError("active is larger than count; write how many experts a token passes")
        return self


class FullLayers(Part):
    """Layers that keep K and V of every token. Heads where they differ from the model's."""

    kind: Literal["full"] = "full"
    layers: Count
    kv_heads: Count | None = None
    head_dim: Count | None = None


class SlidingLayers(Part):
    """Layers that keep K and V of the last ``window`` tokens."""

    kind: Literal["sliding"]
    layers: Count
    window: Count
    kv_heads: Count | None = None
    head_dim: Count | None = None


class LatentLayers(Part):
    """Layers that keep one latent vector a token (MLA), the same on every GPU.

    ``index_bytes`` is what a sparse attention's indexer keeps besides, in bytes a token.
    """

    kind: Literal["latent"]
    layers: Count
    width: Count
    index_layers: Amount = 0
    index_bytes: Amount = 0


class StateLayers(Part):
    """Layers that keep a state of fixed size for each sequence (linear attention, Mamba)."""

    kind: Literal["state"]
    layers: Count
    bytes: Count


CacheLayers = Annotated[
    FullLayers | SlidingLayers | LatentLayers | StateLayers, Field(discriminator="kind")
]


class Vision(Part):
    """The picture encoder; ``patches`` are those of the largest picture that it takes."""

    hidden: Count
    intermediate: Count
    patches: Count


class Shape(Part):
    """The numbers that memory follows from, as in the model's own ``config.json``.

    ``layers`` are those that keep a KV cache (the decoder's, in an encoder-decoder model).
    ``cross_tokens`` are the encoder's tokens that each sequence attends to besides its context.
    ``kept_parameters`` are those, besides the embeddings, that quantised files leave in 16 bits.
    ``split_by`` are further counts that must divide evenly over GPUs (heads of linear attention).
    ``cache`` says what which layers keep; without it all keep K and V of every token.
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
    weight_bytes: Count | None = None  # of the published files, where they are known
    weight_block: Count = 1  # quantised in blocks of so many rows, which are never cut
    active_parameters: Count | None = None
    kept_parameters: Amount = 0
    tied_embeddings: bool = False
    keeps_cache: bool = True
    cross_tokens: Annotated[int, Field(ge=0, le=10**6)] = 0
    experts: Experts | None = None
    vision: Vision | None = None
    split_by: Annotated[tuple[Count, ...], Field(max_length=4)] = ()
    cache: Annotated[tuple[CacheLayers, ...], Field(max_length=8)] = ()

    @model_validator(mode="after")
    def _numbers_agree(self) -> Shape:
        if self.attention_heads % self.kv_heads:
            raise ValueError("attention_heads must be a multiple of kv_heads")
        keeping = sum(part.layers for part in self.cache)
        if self.cache and keeping > self.layers:
            raise ValueError(
                f"cache names {keeping} layers; the model has {self.layers} (field layers)"
            )
        if self.active_parameters is not None and self.active_parameters > self.parameters:
            raise ValueError("active_parameters is larger than parameters")
        if self.experts is not None and self.active_parameters is None:
            raise ValueError("a mixture of experts also needs active_parameters")
        return self

    @property
    def widths(self) -> list[int]:
        """Widths of the layers' matrices that are cut over GPUs."""
        if self.experts is None:
            return [self.intermediate]
        shared = self.experts.shared * self.experts.width
        return [self.experts.width, *([shared] if shared else [])]
