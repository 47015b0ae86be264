"""Pure: what the KV cache of a shape takes on each GPU, kind of layer by kind of layer.

As vLLM lays it out: blocks of 16 tokens; a head is never split, so it may be kept twice; layers
with a window keep it and the tokens in flight; a latent vector is the same on every GPU; a
state takes whole pages, as large as an attention layer's, and is kept twice (the prefix cache
holds the one before).
"""

from __future__ import annotations

from catalog.shape import FullLayers, LatentLayers, Shape, SlidingLayers, StateLayers
from catalog.sums import BITS, Line, Use, in_mib

BLOCK = 16
STATES_KEPT = 2


def cache_lines(shape: Shape, use: Use, gpus: int) -> list[Line]:
    """One line for each kind of layer; one that says "none" where nothing is kept."""
    if not shape.keeps_cache:
        return [Line("KV cache", 0, "none: the model reads its whole input in one step")]
    lines = []
    for part in shape.cache or [FullLayers(layers=shape.layers)]:
        if isinstance(part, StateLayers):
            lines.append(_state(shape, part, use, gpus))
        elif isinstance(part, LatentLayers):
            lines.append(_latent(part, use))
        elif isinstance(part, SlidingLayers):
            lines.append(_sliding(shape, part, use, gpus))
        else:
            lines.append(_full(shape, part, use, gpus))
    return lines


def cache_bytes_per_token(shape: Shape, use: Use, gpus: int) -> int:
    """What each further token of a long sequence takes on one GPU."""
    total = 0
    for part in shape.cache or [FullLayers(layers=shape.layers)]:
        if isinstance(part, FullLayers):
            total += part.layers * _layer_bytes(shape, part, use, gpus)
        elif isinstance(part, LatentLayers):
            total += _latent_bytes(part, use)
    return total


def _full(shape: Shape, part: FullLayers, use: Use, gpus: int) -> Line:
    per_token = part.layers * _layer_bytes(shape, part, use, gpus)
    block = _block(shape, use, gpus)
    tokens = (_up(use.context, block) + shape.cross_tokens) * use.concurrency
    shown = f"{use.context:,}"
    if shape.cross_tokens:
        shown = f"({use.context:,} + {shape.cross_tokens:,})"
    how = f"{_values(shape, part, use, gpus)} = {per_token:,} bytes a token x {shown} tokens"
    return Line("KV cache", in_mib(per_token * tokens), how + _at_once(use))


def _sliding(shape: Shape, part: SlidingLayers, use: Use, gpus: int) -> Line:
    per_token = part.layers * _layer_bytes(shape, part, use, gpus)
    kept = min(use.context, part.window) * use.concurrency
    flying = min(use.batched_tokens, max(use.context - part.window, 0) * use.concurrency)
    tokens = _up(kept, BLOCK) + _up(flying, BLOCK)
    window = min(use.context, part.window)
    how = (
        f"{_values(shape, part, use, gpus)} = {per_token:,} bytes a token x "
        f"(the last {window:,} of each{_at_once(use)} + {flying:,} in flight)"
    )
    return Line("KV cache (window)", in_mib(per_token * tokens), how)


def _latent(part: LatentLayers, use: Use) -> Line:
    per_token = _latent_bytes(part, use)
    how = f"{part.layers} layers x {part.width} x {use.kv_cache.value}"
    if part.index_bytes:
        how += f" + {part.index_layers} layers x {part.index_bytes} bytes of index"
    how += f" = {per_token:,} bytes a token, whole on each GPU, x {use.context:,} tokens"
    tokens = _up(use.context, BLOCK) * use.concurrency
    return Line("KV cache (latent)", in_mib(per_token * tokens), how + _at_once(use))


def _state(shape: Shape, part: StateLayers, use: Use, gpus: int) -> Line:
    page = -(-part.bytes // gpus)
    beside = _beside(shape)
    if beside is not None:
        page = max(page, _block(shape, use, gpus) * _layer_bytes(shape, beside, use, gpus))
    total = part.layers * page * STATES_KEPT * use.concurrency
    how = f"{part.layers} layers x {page:,} bytes a state x {STATES_KEPT} states"
    return Line("KV cache (state)", in_mib(total), how + _at_once(use))


def _block(shape: Shape, use: Use, gpus: int) -> int:
    """Tokens of a block: so many that a page of attention holds a state, where there are any."""
    states = [part.bytes for part in shape.cache if isinstance(part, StateLayers)]
    beside = _beside(shape)
    if not states or beside is None:
        return BLOCK
    per_token = _layer_bytes(shape, beside, use, gpus)
    return _up(-(-max(states) // gpus // per_token), BLOCK)


def _beside(shape: Shape) -> FullLayers | None:
    """The attention layers whose pages states share."""
    return next((part for part in shape.cache if isinstance(part, FullLayers)), None)


def _layer_bytes(shape: Shape, part: FullLayers | SlidingLayers, use: Use, gpus: int) -> int:
    """K and V of one token in one layer on one GPU."""
    return round(2 * _heads(shape, part, gpus) * _dim(shape, part) * BITS[use.kv_cache] / 8)


def _latent_bytes(part: LatentLayers, use: Use) -> int:
    return (
        round(part.layers * part.width * BITS[use.kv_cache] / 8)
        + part.index_layers * part.index_bytes
    )


def _heads(shape: Shape, part: FullLayers | SlidingLayers, gpus: int) -> int:
    return max((part.kv_heads or shape.kv_heads) // gpus, 1)


def _dim(shape: Shape, part: FullLayers | SlidingLayers) -> int:
    return part.head_dim or shape.head_dim


def _values(shape: Shape, part: FullLayers | SlidingLayers, use: Use, gpus: int) -> str:
    heads, dim = _heads(shape, part, gpus), _dim(shape, part)
    return f"2 x {part.layers} layers x {heads} KV heads x {dim} x {use.kv_cache.value}"


def _at_once(use: Use) -> str:
    return f" x {use.concurrency} at once"


def _up(value: int, block: int) -> int:
    return -(-value // block) * block
