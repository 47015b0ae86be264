"""langchain-openai, as it comes, run by the Python that has it: ``langchain_walk.py < plan.json``.

It says one line of JSON a step of the plan, and a last one of what it can do beside them.
"""

import json
import sys
from typing import Any, Literal

from facts import facts_of  # type: ignore[import-not-found]  # beside this file
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

PLAN: dict[str, Any] = json.load(sys.stdin)


def pick_unit(unit: Literal["kelvin"]) -> str:
    """Choose the unit of an answer."""
    return unit


def settings(step: dict[str, Any]) -> dict[str, Any]:
    keyed = step["idempotency_key"]
    body = step["body"]
    limit = body.get("max_tokens") or body.get("max_output_tokens")
    return {
        "base_url": PLAN["impatient_url" if step["impatient"] else "url"] + "/v1",
        "api_key": PLAN["keys"][step["key"]],
        "max_retries": 0,
        "model": body["model"],
        "default_headers": {"Idempotency-Key": keyed} if keyed else None,
        **({"max_tokens": limit} if limit else {}),
        **({"temperature": body["temperature"]} if "temperature" in body else {}),
        **({"model_kwargs": {"user": body["user"]}} if "user" in body else {}),
    }


def call(step: dict[str, Any]) -> int:
    route, body, how = step["route"], step["body"], settings(step)
    if route == "embeddings":
        form = {name: body[name] for name in ("encoding_format", "user") if name in body}
        more = {"dimensions": body["dimensions"]} if "dimensions" in body else {}
        how |= {"model_kwargs": form, "check_embedding_ctx_length": False, **more}
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        return len(OpenAIEmbeddings(**how).embed_documents(texts))
    if route == "completions":
        llm = OpenAI(**how)
        if step["stream"]:
            return sum(1 for _ in llm.stream(body["prompt"]))
        return len(llm.invoke(body["prompt"]))
    asked = body["messages"][0]["content"] if route == "chat" else body["input"]
    chat = ChatOpenAI(use_responses_api=route == "responses", **how)
    if step["stream"]:
        return sum(1 for _ in chat.stream(asked))
    return len(chat.invoke(asked).text)


def further(model: str) -> dict[str, Any]:
    """Streams that tell their usage, tools, several at once."""
    how = {"base_url": f"{PLAN['url']}/v1", "api_key": PLAN["keys"]["good"], "max_retries": 0}
    chat = ChatOpenAI(model=model, stream_usage=True, **how)
    plain = chat.invoke("Say something.")
    parts = list(chat.stream("Say something."))
    whole = parts[0]
    for part in parts[1:]:
        whole += part
    caller = chat.bind_tools([pick_unit], tool_choice="pick_unit", strict=True)
    return {
        "tokens": plain.usage_metadata["output_tokens"],
        "stream": {
            "parts": len(parts),
            "same": whole.content == plain.content,
            "tokens": whole.usage_metadata["output_tokens"],
        },
        "call": [call["name"] for call in caller.invoke("Which unit?").tool_calls],
        "batch": len(chat.batch(["one", "two", "three"])),
    }


def main() -> None:
    for step in PLAN["steps"]:
        found = facts_of(lambda step=step: call(step))
        print(json.dumps({"route": step["route"], "case": step["case"], **found}))
    if not PLAN["further"]:
        return
    model = PLAN["steps"][0]["body"]["model"]
    print(json.dumps({"route": "chat", "case": "further", "raised": [], "told": further(model)}))


main()
