"""Pure: a template and its GPUs -> what the agent starts (image, arguments, environment).

The agent fills in ``{port}`` everywhere, and for the process hand also ``{python}``, ``{vllm}``
(AGENT_VLLM) and ``{model_path}`` (AGENT_MODELS_DIR / the served model's name).
"""

from __future__ import annotations

from catalog.fit import MEMORY_SHARE
from catalog.schema import Engine, Kind, Template
from catalog.shape import Precision
from catalog.sums import Use
from kernel.wire.agent import LaunchSpec

PORT = 8000


def launch(template: Template, use: Use, gpus: int) -> LaunchSpec:
    """How one worker of this model is started on ``gpus`` GPUs, in a container or as a process."""
    assert gpus >= 1, "a worker has at least one GPU"
    start = template.start
    return LaunchSpec(
        engine=template.engine.value,
        image=start.image,
        arguments=[_fill(text, template) for text in _arguments(template, use, gpus)],
        environment=dict(start.environment)
        if template.engine is Engine.STANDIN
        else {"VLLM_NO_USAGE_STATS": "1", **start.environment},
        process=[_fill(text, template) for text in _process(template, use, gpus)],
        port=PORT,
        memory_mib=start.memory_mib,
        shm_mib=start.shm_mib,
        start_seconds_max=start.start_seconds_max,
        drain_seconds_max=start.drain_seconds_max,
    )


def _arguments(template: Template, use: Use, gpus: int) -> list[str]:
    """What follows the image's entry point."""
    own = template.start.arguments
    if template.engine is Engine.STANDIN:
        return list(own)
    flags = [*_flags(template, use, gpus, host="0.0.0.0"), *own]
    if template.engine is Engine.VLLM_OMNI:
        return ["vllm", "serve", _weights(template), *flags]  # its image has no entry point
    return ["--model", _weights(template), *flags]


def _process(template: Template, use: Use, gpus: int) -> list[str]:
    """The same as a process of a machine on which the engine is installed."""
    if template.start.process or template.engine is Engine.STANDIN:
        return list(template.start.process)
    flags = _flags(template, use, gpus, host="127.0.0.1")
    return ["{vllm}", "serve", _weights(template), *flags, *template.start.arguments]


def _weights(template: Template) -> str:
    return "{model_path}" if template.start.process else template.repository or template.id


def _flags(template: Template, use: Use, gpus: int, *, host: str) -> list[str]:
    flags = ["--served-model-name", template.id, "--host", host, "--port", "{port}"]
    if template.engine is Engine.VLLM_OMNI:
        return [*flags, "--omni"]
    flags += ["--max-model-len", str(use.context), "--max-num-seqs", str(use.concurrency)]
    if template.shape is None:
        return flags
    flags += ["--tensor-parallel-size", str(gpus)]
    flags += ["--gpu-memory-utilization", f"{MEMORY_SHARE:.2f}"]
    flags += ["--max-num-batched-tokens", str(use.batched_tokens)]
    if use.kv_cache is Precision.FP8:
        flags += ["--kv-cache-dtype", "fp8"]
    if template.kind is Kind.CHAT:
        flags += ["--enable-prompt-tokens-details"]
    return flags


def _fill(text: str, template: Template) -> str:
    return text.replace("{model_id}", template.id)
