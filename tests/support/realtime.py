"""Voices for tests, and a gateway with a deployment for each part of a turn."""

from __future__ import annotations

import base64
import math
from array import array

from openai import AsyncOpenAI

from kernel.wire.gateway import AccountRow, Snapshot
from tests.support.gateway import KEY, OWNER, PLATFORM, deployment_row, key_row, replica_row
from tests.support.standin import MODEL

RATE = 24_000
EARS, MIND, VOICE = "ears", "mind", "voice"


def tone(ms: int, *, rate: int = RATE, peak: int = 8000) -> bytes:
    """As loud as speech: 220 Hz."""
    count = rate * ms // 1000
    step = 2 * math.pi * 220 / rate
    return array("h", (int(peak * math.sin(step * at)) for at in range(count))).tobytes()


def silence(ms: int, *, rate: int = RATE) -> bytes:
    return bytes(2 * (rate * ms // 1000))


def said(ms: int = 600) -> bytes:
    """Somebody speaks, and stops."""
    return silence(400) + tone(ms) + silence(800)


def base(sound: bytes) -> str:
    return base64.b64encode(sound).decode()


def three(ears: int, mind: int, voice: int, *, pool: bool = False) -> Snapshot:
    """Deployments of transcription, chat and speech at these ports."""
    owner = PLATFORM if pool else OWNER
    names = (EARS, MIND, VOICE)
    how: dict[str, object] = {"account_id": owner, "pool": pool}
    if pool:
        how["rate_nano"] = 10**9
    return Snapshot(
        keys=[key_row()],
        accounts=[AccountRow(OWNER)],
        deployments=[
            deployment_row(name, number, **{**how, "model": name})
            for number, name in enumerate(names, 1)
        ],
        replicas=[
            replica_row(port, number, number, upstream_model=MODEL)
            for number, port in enumerate((ears, mind, voice), 1)
        ],
    )


def session(**changes: object) -> dict[str, object]:
    """What names the models of all parts."""
    return {
        "type": "realtime",
        "audio": {
            "input": {"transcription": {"model": EARS}, **changes},
            "output": {"model": VOICE, "voice": "alloy"},
        },
    }


def client(url: str, key: str = KEY) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=20)
