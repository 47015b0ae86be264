"""Health: live (the loop turns), ready (requests can be served), dependencies (each, by name)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from brain import migrate
from brain.wiring import Parts

router = APIRouter(prefix="/health", tags=["health"])

CHECK_SECONDS_MAX = 2.0


class Dependency(BaseModel):
    """``needed``: without it the brain is not ready."""

    name: str
    ok: bool
    needed: bool
    milliseconds: float
    detail: str


class Dependencies(BaseModel):
    status: Literal["ok", "degraded", "down"]
    dependencies: list[Dependency]


class Live(BaseModel):
    status: Literal["ok"] = "ok"


def get_parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsIn = Annotated[Parts, Depends(get_parts)]


@router.get("/live")
async def live() -> Live:
    """The process answers."""
    return Live()


@router.get("/ready", responses={503: {"model": Dependencies}})
async def ready(parts: PartsIn, response: Response) -> Dependencies:
    """200 when requests can be served, else 503; the answer says what is missing."""
    found = await look(parts)
    response.status_code = 503 if found.status == "down" else 200
    return found


@router.get("/dependencies")
async def dependencies(parts: PartsIn) -> Dependencies:
    """Each part that the brain stands on."""
    return await look(parts)


async def look(parts: Parts) -> Dependencies:
    """Ask every part at once; a part that does not answer in 2 s is away."""
    found = await asyncio.gather(
        _check(parts, "database", True, _database(parts)),
        _check(parts, "migrations", True, _migrations(parts)),
        _check(parts, "valkey", False, _valkey(parts)),
    )
    if all(one.ok for one in found):
        return Dependencies(status="ok", dependencies=found)
    down = any(one.needed and not one.ok for one in found)
    return Dependencies(status="down" if down else "degraded", dependencies=found)


async def _check(parts: Parts, name: str, needed: bool, asked: Awaitable[str]) -> Dependency:
    """``asked`` returns "" when well, else a sentence. Addresses and secrets stay inside."""
    started = parts.ctx.clock.monotonic_ns()
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            trouble = await asked
    except TimeoutError:
        trouble = f"no answer within {CHECK_SECONDS_MAX:g} s"
    except (SQLAlchemyError, RedisError, OSError) as error:
        trouble = f"away ({type(error).__name__})"
    spent = (parts.ctx.clock.monotonic_ns() - started) / 1e6
    return Dependency(
        name=name,
        ok=not trouble,
        needed=needed,
        milliseconds=round(spent, 1),
        detail=trouble or "ok",
    )


async def _database(parts: Parts) -> str:
    async with parts.ctx.db.begin() as tx:
        await tx.execute(text("SELECT 1"))
    return ""


async def _migrations(parts: Parts) -> str:
    found, needed = await migrate.revision(parts.ctx.db.engine), migrate.head()
    if found == needed:
        return ""
    return f"the database is at revision {found}, this version needs {needed}"


async def _valkey(parts: Parts) -> str:
    await parts.valkey.ping()
    return ""
