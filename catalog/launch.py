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
    """How one worker of this model is started on ``gpus`` GPUs."""
    assert gpus >= 1, "a worker has at least one GPU"
    start = template.start
    arguments = [*_engine_arguments(template, use, gpus), *start.arguments]
    return LaunchSpec(
        engine=template.engine.value,
        image=start.image,
        arguments=[_fill(text, template) for text in arguments],
        environment=dict(start.environment)
        if template.engine is Engine.STANDIN
        else {"VLLM_NO_USAGE_STATS": "1", **start.environment},
        process=[_fill(text, template) for text in start.process],
        port=PORT,
        memory_mib=start.memory_mib,
        shm_mib=start.shm_mib,
        start_seconds_max=start.start_seconds_max,
        drain_seconds_max=start.drain_seconds_max,
    )


def _engine_arguments(template: Template, use: Use, gpus: int) -> list[str]:
    if template.engine is Engine.VLLM:
        return _vllm_arguments(template, use, gpus)
    if template.engine is Engine.VLLM_OMNI:
        return _omni_arguments(template)
    return []


def _omni_arguments(template: Template) -> list[str]:
    """Its image has no entry point, so the command is the whole of it."""
    model = template.repository or template.id
    serve = ["vllm", "serve", model, "--omni", "--served-model-name", template.id]
    return [*serve, "--host", "0.0.0.0", "--port", "{port}"]


def _vllm_arguments(template: Template, use: Use, gpus: int) -> list[str]:
    model = "{model_path}" if template.start.process else template.repository or template.id
    arguments = ["--model", model, "--served-model-name", template.id]
    arguments += ["--host", "0.0.0.0", "--port", "{port}"]
    arguments += ["--max-model-len", str(use.context), "--max-num-seqs", str(use.concurrency)]
    if template.shape is None:
        return arguments
    arguments += ["--tensor-parallel-size", str(gpus)]
    arguments += ["--gpu-memory-utilization", f"{MEMORY_SHARE:.2f}"]
    arguments += ["--max-num-batched-tokens", str(use.batched_tokens)]
    if use.kv_cache is Precision.FP8:
        arguments += ["--kv-cache-dtype", "fp8"]
    if template.kind is Kind.CHAT:
        arguments += ["--enable-prompt-tokens-details"]
    return arguments


def _fill(text: str, template: Template) -> str:
    return text.replace("{model_id}", template.id)
