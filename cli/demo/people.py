"""The accounts of a demo: made through the public API, given credit, and an API key each."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from cli.client import Brain
from cli.demo.ground import Ground

SCOPES = ["read", "write", "inference"]
CREDITS = 100_000


@dataclass(frozen=True)
class Person:
    email: str
    account_id: str
    brain: Brain
    key: str

    def balance(self) -> dict[str, Any]:
        found: dict[str, Any] = self.brain.get("/api/v1/billing/balance")
        return found


def register(ground: Ground, name: str) -> tuple[Person, dict[str, Any]]:
    """A fresh account, logged in, without credit or key; and what the registration answered."""
    email = f"{name}-{secrets.token_hex(4)}@example.com"
    password = secrets.token_urlsafe(16)
    with Brain(ground.brain_url) as brain:
        made = brain.post("/auth/register", {"email": email, "password": password})
        token = brain.post("/auth/login", {"email": email, "password": password})["access_token"]
    return Person(email, made["account_id"], Brain(ground.brain_url, token=token), ""), made


def fund(ground: Ground, person: Person) -> dict[str, Any]:
    """Credit as a purchase whose payment was verified would bring it."""
    with ground.admin() as admin:
        admin.post(
            "/api/v1/admin/credits",
            {
                "email": person.email,
                "credits": CREDITS,
                "kind": "purchase",
                "reason": "credit for the demo",
                "idempotency_key": f"demo-{person.account_id}",
            },
        )
    return person.balance()


def with_key(person: Person) -> Person:
    made = person.brain.post("/api/v1/keys", {"name": "demo", "scopes": SCOPES})
    return Person(person.email, person.account_id, person.brain, made["key"])
