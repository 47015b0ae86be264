"""OpenAI's Agents SDK, as it comes, run by the Python that has it: ``agents_walk.py < plan.json``.

It says one line of JSON a step of the plan, and a last one of what it can do beside them.
"""

import asyncio
import json
import sys
from typing import Any, Literal

import agents
from facts import raised  # type: ignore[import-not-found]  # beside this file
from openai import AsyncOpenAI

PLAN: dict[str, Any] = json.load(sys.stdin)
KINDS = {
    "chat": agents.OpenAIChatCompletionsModel,
    "responses": agents.OpenAIResponsesModel,
}


@agents.function_tool
def pick_unit(unit: Literal["kelvin"]) -> str:
    """Choose the unit of an answer."""
    return f"the unit is {unit}"


def agent_of(step: dict[str, Any], **more: Any) -> agents.Agent:
    url = PLAN["impatient_url" if step["impatient"] else "url"]
    client = AsyncOpenAI(
        base_url=f"{url}/v1", api_key=PLAN["keys"][step["key"]], max_retries=0, timeout=60
    )
    model = KINDS[step["route"]](step["body"]["model"], client)
    return agents.Agent(name="Helper", instructions="Answer shortly.", model=model, **more)


async def call(step: dict[str, Any]) -> int:
    body = step["body"]
    keyed = step["idempotency_key"]
    settings = agents.ModelSettings(
        max_tokens=body.get("max_tokens") or body.get("max_output_tokens"),
        extra_headers={"Idempotency-Key": keyed} if keyed else None,
        extra_body={"user": body["user"]} if "user" in body else None,
    )
    agent = agent_of(step, model_settings=settings)
    asked = body["messages"][0]["content"] if step["route"] == "chat" else body["input"]
    if not step["stream"]:
        return len((await agents.Runner.run(agent, asked)).final_output)
    run = agents.Runner.run_streamed(agent, asked)
    return sum([1 async for event in run.stream_events() if event.type == "raw_response_event"])


async def facts(step: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"raised": [], "said": await call(step)}
    except Exception as error:
        return raised(error)


async def further(route: str, model: str) -> dict[str, Any]:
    """A tool is called, and the streamed text is the final one."""
    step = {"route": route, "impatient": False, "key": "good", "body": {"model": model}}
    run = agents.Runner.run_streamed(agent_of(step), "Say something.")
    deltas = [
        event.data.delta
        async for event in run.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    forced = agents.ModelSettings(tool_choice="pick_unit")
    asked = agent_of(step, tools=[pick_unit], model_settings=forced)
    called = await agents.Runner.run(asked, "Which unit?", max_turns=3)
    outputs = [item.output for item in called.new_items if item.type == "tool_call_output_item"]
    return {
        "deltas": len(deltas),
        "whole": "".join(deltas) == run.final_output,
        "tokens": called.context_wrapper.usage.output_tokens,
        "tool": outputs,
        "said": bool(called.final_output),
    }


async def main() -> None:
    agents.set_tracing_disabled(True)
    for step in PLAN["steps"]:
        print(json.dumps({"route": step["route"], "case": step["case"], **await facts(step)}))
    model = PLAN["steps"][0]["body"]["model"]
    for route in KINDS if PLAN["further"] else ():
        told = await further(route, model)
        print(json.dumps({"route": route, "case": "further", "raised": [], "told": told}))


asyncio.run(main())
