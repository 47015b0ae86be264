"""Make tiny random models that real vLLM loads in seconds; run with the interpreter of .parts/vllm.

    .parts/vllm/bin/python tools/tiny_model.py .parts/models

Writes ``tiny-random`` (Llama, with a chat template), ``tiny-random-embedding`` (Bert) and
``tiny-random-speech`` (Whisper), 1 to 3 MB each. Their tokenizers are trained here on this
repository's own sentences and their weights are seeded noise: they say nonsense, but every byte
between client and engine is the real one.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizerFast,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

SEED = 20
CONTEXT = 512
CHAT_CONTEXT = 4096  # long enough to be left in the middle of
VOCABULARY = 1024
SENTENCES = (
    "A node offers its GPUs and the brain plans where a model runs.",
    "Every GPU-second is on a bill that adds up, and the receipt says why.",
    "The gateway streams each token to the client as soon as the worker sends it.",
    "When the client hangs up, the worker stops and the meter stops with it.",
    "Write the intent first, act with no transaction open, then save what was seen.",
    '{"name": "get_weather", "arguments": {"city": "Accra", "unit": "celsius"}}',
    "0 1 2 3 4 5 6 7 8 9 10 20 30 40 50 60 70 80 90 100 1000 2026",
    "def price(seconds: int, rate: int) -> int: return seconds * rate  # nano-dollars",
    "Le modèle répond en français ; das Modell antwortet auf Deutsch; el modelo responde.",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{{ message['content'] if message['content'] else '' }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CHAT_ROLES = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
CHAT_MARKS = [*CHAT_ROLES.values(), "<|system|>", "<|user|>", "<|assistant|>"]
BERT_ROLES = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
BERT_MARKS = list(BERT_ROLES.values())


def _trained(marks: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer: it can spell any text, so that no input is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=marks,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def make_chat(folder: Path) -> None:
    """A two-layer Llama. Head size 64: vLLM's CPU engine dies at size 16."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_trained(CHAT_MARKS),
        model_max_length=CHAT_CONTEXT,
        **CHAT_ROLES,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CHAT_CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_embedding(folder: Path) -> None:
    """A two-layer Bert for ``vllm serve --runner pooling``."""
    trained = _trained(BERT_MARKS)
    trained.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[
            ("[CLS]", trained.token_to_id("[CLS]")),
            ("[SEP]", trained.token_to_id("[SEP]")),
        ],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained,
        model_max_length=CONTEXT,
        **BERT_ROLES,
    )
    torch.manual_seed(SEED)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertModel(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_speech(folder: Path) -> None:
    """A Whisper of two layers each way that hears 30 s at a time, with Whisper's own marks."""
    end = "<|endoftext|>"
    tokenizer = WhisperTokenizerFast(
        tokenizer_object=_trained([end]),
        bos_token=end,
        eos_token=end,
        unk_token=end,
        pad_token=end,
    )
    tasks = ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    marks = ["<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), *tasks]
    marks += ["<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.add_tokens([f"<|{step * 0.02:.2f}|>" for step in range(1501)])
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "decoder_start_token_id": tokenizer.convert_tokens_to_ids(marks[0]),
    }
    torch.manual_seed(SEED)
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=128,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        **ids,
    )
    model = WhisperForConditionalGeneration(config).to(torch.bfloat16)
    model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)


MODELS: dict[str, Callable[[Path], None]] = {
    "tiny-random": make_chat,
    "tiny-random-embedding": make_embedding,
    "tiny-random-speech": make_speech,
}


def main(root: Path) -> None:
    for name, make in MODELS.items():
        making = root / f"{name}.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        make(making)
        shutil.rmtree(root / name, ignore_errors=True)
        making.rename(root / name)
        print(f"made {root / name}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
