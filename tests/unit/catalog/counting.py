"""Parameters counted from a shape, family by family: what the files say must agree with itself."""

from __future__ import annotations

from collections.abc import Callable

from catalog.shape import Shape

Count = Callable[[Shape], int]


def attention(shape: Shape, *, biases: bool = False) -> int:
    """Projections of grouped heads; ``biases`` on q, k and v."""
    wide, narrow = shape.attention_heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return 2 * shape.hidden * (wide + narrow) + (wide + 2 * narrow if biases else 0)


def feed(shape: Shape) -> int:
    """A gated MLP, or a mixture of such with its router."""
    if shape.experts is None:
        return 3 * shape.hidden * shape.intermediate
    mixed = shape.experts
    return 3 * shape.hidden * mixed.width * (mixed.count + mixed.shared) + (
        shape.hidden * mixed.count
    )


def embeddings(shape: Shape) -> int:
    return shape.vocabulary * shape.hidden * (1 if shape.tied_embeddings else 2)


def decoder(*, biases: bool = False, norms: int = 2, head_norms: int = 0, more: int = 0) -> Count:
    """A decoder; ``norms`` a layer, norms over one head's values, ``more`` beside it (vision)."""

    def count(shape: Shape) -> int:
        layer = attention(shape, biases=biases) + feed(shape) + norms * shape.hidden
        layer += head_norms * shape.head_dim
        return shape.layers * layer + embeddings(shape) + shape.hidden + more

    return count


def with_vision(**options: int) -> Count:
    """The same, with the picture encoder that quantised files leave in 16 bits."""
    return lambda shape: decoder(more=shape.kept_parameters, **options)(shape)  # type: ignore[arg-type]


def wide_norms(shape: Shape) -> int:
    """Norms over all heads' values at once (OLMo 2, MiniMax)."""
    wide = (shape.attention_heads + shape.kv_heads) * shape.head_dim
    return decoder()(shape) + shape.layers * wide


def oss(shape: Shape) -> int:
    """gpt-oss: biases everywhere, a sink for each head."""
    assert shape.experts is not None
    mixed = shape.experts
    expert = 3 * shape.hidden * mixed.width + 2 * mixed.width + shape.hidden
    layer = attention(shape, biases=True) + shape.hidden + shape.attention_heads
    layer += mixed.count * (expert + shape.hidden + 1) + 2 * shape.hidden
    return shape.layers * layer + embeddings(shape) + shape.hidden


def latent(shape: Shape, query: int, nope: int, rope: int, value: int, dense: int) -> int:
    """Latent attention over a mixture, the first ``dense`` layers without experts."""
    kept, heads = 512, shape.attention_heads
    layer = shape.hidden * query + query + query * heads * (nope + rope)
    layer += shape.hidden * (kept + rope) + kept + kept * heads * (nope + value)
    layer += heads * value * shape.hidden + 2 * shape.hidden
    plain = 3 * shape.hidden * shape.intermediate
    whole = shape.layers * layer + (shape.layers - dense) * feed(shape) + dense * plain
    return whole + embeddings(shape) + shape.hidden


def encoder(positions: int, *, pooler: bool = True, kinds: int = 2, more: int = 0) -> Count:
    """A BERT encoder with biases and norms; ``kinds`` of token, ``more`` for a head."""

    def count(shape: Shape) -> int:
        layer = 4 * (shape.hidden**2 + shape.hidden) + 2 * 2 * shape.hidden
        layer += 2 * shape.hidden * shape.intermediate + shape.intermediate + shape.hidden
        table = (shape.vocabulary + positions + kinds) * shape.hidden + 2 * shape.hidden
        pooled = shape.hidden**2 + shape.hidden if pooler else 0
        return shape.layers * layer + table + pooled + more

    return count


def whisper(shape: Shape, encoder_layers: int, mels: int) -> int:
    """Parameters of a Whisper: k has no bias; the decoder attends to itself and the encoder."""
    block = 4 * shape.hidden**2 + 3 * shape.hidden
    wide = 2 * shape.hidden * shape.intermediate + shape.intermediate + shape.hidden
    norm = 2 * shape.hidden
    decoded = shape.layers * (2 * block + wide + 3 * norm) + norm
    return listener(shape.hidden, shape.intermediate, encoder_layers, mels) + (
        decoded + (shape.vocabulary + 448) * shape.hidden
    )


def listener(hidden: int, intermediate: int, layers: int, mels: int) -> int:
    """Whisper's encoder."""
    block = 4 * hidden**2 + 3 * hidden
    wide = 2 * hidden * intermediate + intermediate + hidden
    convolutions = 3 * hidden * (mels + hidden) + 2 * hidden
    return layers * (block + wide + 2 * 2 * hidden) + convolutions + 2 * hidden + 1500 * hidden


QWEN3 = decoder(head_norms=2)
COUNTED: dict[str, Count] = {
    "BAAI/bge-large-en-v1.5": encoder(512),
    "BAAI/bge-m3": encoder(8194, kinds=1),
    "BAAI/bge-reranker-v2-m3": encoder(8194, kinds=1, more=1024 + 1),
    "MiniMaxAI/MiniMax-M2.7": wide_norms,
    "Qwen/Qwen2.5-0.5B-Instruct": decoder(biases=True),
    "Qwen/Qwen2.5-Coder-32B-Instruct": decoder(biases=True),
    "Qwen/Qwen2.5-Coder-7B-Instruct": decoder(biases=True),
    "Qwen/Qwen3-14B": QWEN3,
    "Qwen/Qwen3-235B-A22B-Instruct-2507": QWEN3,
    "Qwen/Qwen3-30B-A3B-Instruct-2507": QWEN3,
    "Qwen/Qwen3-32B": QWEN3,
    "Qwen/Qwen3-4B-Instruct-2507": QWEN3,
    "Qwen/Qwen3-8B": QWEN3,
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": QWEN3,
    "Qwen/Qwen3-Embedding-0.6B": QWEN3,
    "Qwen/Qwen3-VL-30B-A3B-Instruct": with_vision(head_norms=2),
    "Qwen/Qwen3-VL-32B-Instruct": with_vision(head_norms=2),
    "Qwen/Qwen3-VL-8B-Instruct": with_vision(head_norms=2),
    "allenai/OLMo-2-1124-13B-Instruct": wide_norms,
    "deepseek-ai/DeepSeek-R1": lambda s: latent(s, 1536, 128, 64, 128, 3),
    "google/gemma-3-27b-it": with_vision(norms=4, head_norms=2),
    "meta-llama/Llama-3.1-8B-Instruct": decoder(),
    "meta-llama/Llama-3.2-3B-Instruct": decoder(),
    "meta-llama/Llama-3.3-70B-Instruct": decoder(),
    "microsoft/phi-4": decoder(),
    "mistralai/Devstral-Small-2507": decoder(),
    "mistralai/Mistral-7B-Instruct-v0.3": decoder(),
    "mistralai/Voxtral-Mini-3B-2507": decoder(
        # Whisper's encoder, and two layers that bring four of its vectors to one of the decoder's.
        more=listener(1280, 5120, 32, 128) + 4 * 1280 * 3072 + 3072**2
    ),
    "openai/gpt-oss-120b": oss,
    "openai/gpt-oss-20b": oss,
    "openai/whisper-large-v3-turbo": lambda s: whisper(s, 32, 128),
}
# Layers of several kinds: counted by the transformers library from the published config.json.
COUNTED_ELSEWHERE = {
    "Qwen/Qwen3.6-27B": 27_356_728_560,
    "Qwen/Qwen3.6-35B-A3B": 35_107_181_936,
    "deepseek-ai/DeepSeek-V3.2": 671_877_929_216,
    "google/gemma-4-26B-A4B-it": 25_805_933_872,
    "google/gemma-4-31B-it": 31_273_086_512,
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": 31_577_937_344,
    "zai-org/GLM-5.2-FP8": 743_377_000_704,
}
