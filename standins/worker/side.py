"""The routes that do no work: models, health, metrics, and what only a stand-in has."""

from __future__ import annotations

import json

from standins.worker.desk import OWNER, VERSION, Desk, answer_json
from standins.worker.faults import read_faults
from standins.worker.jobs import Body
from standins.worker.refusals import Refusal
from standins.worker.server import Exchange


async def models(desk: Desk, exchange: Exchange) -> None:
    born = desk.born_ns // 1_000_000_000
    permission: Body = {
        "id": "modelperm-stand-in",
        "object": "model_permission",
        "created": born,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    card: Body = {
        "id": desk.options.model,
        "object": "model",
        "created": born,
        "owned_by": OWNER,
        "root": desk.options.model,
        "parent": None,
        "max_model_len": desk.options.max_model_len,
        "permission": [permission],
    }
    await answer_json(exchange, {"object": "list", "data": [card]})


async def health(desk: Desk, exchange: Exchange) -> None:
    await exchange.answer(200, b"", content_type="")


async def version(desk: Desk, exchange: Exchange) -> None:
    await answer_json(exchange, {"version": VERSION})


async def load(desk: Desk, exchange: Exchange) -> None:
    book = desk.engine.book
    await answer_json(exchange, {"server_load": book.running + book.waiting})


async def metrics(desk: Desk, exchange: Exchange) -> None:
    kind = "text/plain; version=1.0.0; charset=utf-8"
    await exchange.answer(200, desk.engine.book.text().encode(), content_type=kind)


async def state(desk: Desk, exchange: Exchange) -> None:
    shown: Body = {
        "stand_in": "worker",
        "model": desk.options.model,
        "draining": desk.draining,
        **desk.engine.book.state(),
        "faults": desk.faults.left(),
        "remembered": list(desk.remembered),
    }
    await answer_json(exchange, shown)


async def add_faults(desk: Desk, exchange: Exchange) -> None:
    try:
        desk.faults.add(read_faults(json.loads(exchange.request.body)))
    except ValueError as wrong:
        raise Refusal(f"Not a fault: {wrong}", param=None) from wrong
    await show_faults(desk, exchange)


async def show_faults(desk: Desk, exchange: Exchange) -> None:
    await answer_json(exchange, {"faults": desk.faults.left()})


async def clear_faults(desk: Desk, exchange: Exchange) -> None:
    desk.faults.clear()
    await show_faults(desk, exchange)
