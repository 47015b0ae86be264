"""Run by the Python that has langchain-openai: ``langchain_walk.py URL KEY MODEL``; says JSON."""

import json
import sys
from typing import Literal

from langchain_openai import ChatOpenAI, OpenAIEmbeddings

URL, KEY, MODEL = sys.argv[1:4]
HOW = {"base_url": URL, "api_key": KEY, "max_retries": 0}


def pick_unit(unit: Literal["kelvin"]) -> str:
    """Choose the unit of an answer."""
    return unit


def error_of(chat: ChatOpenAI) -> str:
    try:
        chat.invoke("Hello")
    except Exception as error:
        return type(error).__name__
    return "answered"


def main() -> None:
    chat = ChatOpenAI(model=MODEL, stream_usage=True, **HOW)
    plain = chat.invoke("Say something.")
    parts = list(chat.stream("Say something."))
    whole = parts[0]
    for part in parts[1:]:
        whole += part
    caller = chat.bind_tools([pick_unit], tool_choice="pick_unit")
    embedder = OpenAIEmbeddings(model=MODEL, check_embedding_ctx_length=False, **HOW)
    responses = ChatOpenAI(model=MODEL, use_responses_api=True, **HOW)
    told = {
        "text": bool(plain.content),
        "tokens": plain.usage_metadata["output_tokens"],
        "stream": {
            "parts": len(parts),
            "same": whole.content == plain.content,
            "tokens": whole.usage_metadata["output_tokens"],
        },
        "call": [call["name"] for call in caller.invoke("Which unit?").tool_calls],
        "embeddings": len(embedder.embed_documents(["one", "two"])),
        "responses": bool(responses.invoke("Say something.").text),
        "batch": len(chat.batch(["one", "two", "three"])),
        "refused": error_of(ChatOpenAI(model="nobody", **HOW)),
        "wrong_key": error_of(ChatOpenAI(model=MODEL, **HOW | {"api_key": "gk_no"})),
    }
    print(json.dumps(told))


main()
