"""Run by the Python that has OpenAI's Agents SDK: ``agents_walk.py URL KEY MODEL``; says JSON."""

import asyncio
import json
import sys
from typing import Literal

import agents
from openai import AsyncOpenAI

URL, KEY, MODEL = sys.argv[1:4]


@agents.function_tool
def pick_unit(unit: Literal["kelvin"]) -> str:
    """Choose the unit of an answer."""
    return f"the unit is {unit}"


def agent(model: agents.Model, **more: object) -> agents.Agent:
    return agents.Agent(name="Helper", instructions="Answer shortly.", model=model, **more)


async def streamed(model: agents.Model) -> dict[str, object]:
    run = agents.Runner.run_streamed(agent(model), "Say something.")
    deltas = [
        event.data.delta
        async for event in run.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    return {"deltas": len(deltas), "whole": "".join(deltas) == run.final_output}


async def called(model: agents.Model) -> dict[str, object]:
    forced = agents.ModelSettings(tool_choice="pick_unit")
    asked = agent(model, tools=[pick_unit], model_settings=forced)
    run = await agents.Runner.run(asked, "Which unit?", max_turns=3)
    outputs = [item.output for item in run.new_items if item.type == "tool_call_output_item"]
    return {"tool": outputs, "said": bool(run.final_output)}


async def refused(client: AsyncOpenAI) -> str:
    unknown = agents.OpenAIResponsesModel("nobody", client)
    try:
        await agents.Runner.run(agent(unknown), "Hello")
    except Exception as error:
        return type(error).__name__
    return "answered"


async def main() -> None:
    agents.set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=0)
    told: dict[str, object] = {"refused": await refused(client)}
    for name, kind in (
        ("responses", agents.OpenAIResponsesModel),
        ("chat", agents.OpenAIChatCompletionsModel),
    ):
        model = kind(MODEL, client)
        plain = await agents.Runner.run(agent(model), "Say something.")
        told[name] = {
            "text": bool(plain.final_output),
            "tokens": plain.context_wrapper.usage.output_tokens,
            "stream": await streamed(model),
            "call": await called(model),
        }
    print(json.dumps(told))


asyncio.run(main())
