"""What a fresh installation needs to be used at once: administrator, node, demo account, pool.

All through the public API, each step safe to repeat: a second start finds what the first made.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.client import Brain, Refused, needs_tls
from cli.credentials import Credentials, write_private
from cli.faults import CliError
from cli.supervisor.environment import (
    ADMIN_EMAIL,
    DEMO_EMAIL,
    PROVIDER_EMAIL,
    STAND_IN,
    Layout,
)
from cli.supervisor.home import Home
from kernel.clock import NS, Clock

DEMO_CREDITS = 500_000
FIRST_ANSWER_SECONDS_MAX = 10.0
DEMO_SCOPES = ["read", "write", "inference"]
KEY_SECRET = "DEMO_API_KEY"  # noqa: S105  the name of a secret, not one


@dataclass(frozen=True)
class Demo:
    """The account that the start prints."""

    email: str
    key: str
    credits: int


class Seeds:
    """``make_admin`` makes the administrator in the database; needed once."""

    def __init__(
        self, layout: Layout, home: Home, clock: Clock, make_admin: Callable[[], None]
    ) -> None:
        self._layout = layout
        self._home = home
        self._clock = clock
        self._make_admin = make_admin
        self._tokens: dict[str, str] = {}

    def join_token(self) -> str:
        """A token for the local agent; empty when it is a node of this brain already."""
        with self._as(PROVIDER_EMAIL, "PROVIDER_PASSWORD") as brain:
            known = self.node_id()
            if known and any(
                node["node_id"] == known and not node.get("revoked")
                for node in brain.pages("/api/v1/provider/nodes")
            ):
                return ""
            self._forget_node()
            brain.post("/api/v1/provider", {"name": "This machine"})
            made = brain.post("/api/v1/provider/join-tokens")
        token: str = made["token"]
        return token

    def node_id(self) -> str:
        """The local agent's node, as its own file says; empty before it joined."""
        try:
            saved = json.loads((self._agent / "identity.json").read_text())
        except (OSError, ValueError):
            return ""
        return str(saved.get("node_id", ""))

    def node(self) -> dict[str, Any] | None:
        """The local node as the brain sees it."""
        known = self.node_id()
        with self._as(DEMO_EMAIL, "DEMO_PASSWORD") as brain:
            for node in brain.pages("/api/v1/nodes") if known else ():
                if node["node_id"] == known:
                    found: dict[str, Any] = node
                    return found
        return None

    def pool(self) -> str:
        """The shared pool's deployment of the stand-in model; made if there is none."""
        with self._as(ADMIN_EMAIL, "ADMIN_PASSWORD") as brain:
            for item in brain.pages("/api/v1/deployments", pool=True):
                if item["pool"] and item["model"] == STAND_IN and item["asked"] == "running":
                    return str(item["deployment_id"])
            made = brain.post(
                "/api/v1/deployments", {"model": STAND_IN, "replicas": 1, "pool": True}
            )
        return str(made["deployment_id"])

    def demo(self) -> Demo:
        """The demo account with credit and a key that works."""
        with self._as(ADMIN_EMAIL, "ADMIN_PASSWORD") as admin:
            self._login(DEMO_EMAIL, "DEMO_PASSWORD")
            admin.post(
                "/api/v1/admin/credits",
                {
                    "email": DEMO_EMAIL,
                    "credits": DEMO_CREDITS,
                    "kind": "promo",
                    "reason": "credit of the local demo account",
                    "idempotency_key": "local-demo-credit",
                },
            )
        with self._as(DEMO_EMAIL, "DEMO_PASSWORD") as brain:
            key = self._key(brain)
            balance = brain.get("/api/v1/billing/balance")
        self._save_credentials(key)
        return Demo(DEMO_EMAIL, key, int(balance["credits"]))

    def answers(self, key: str) -> bool:
        """Whether the gateway answers the demo account from the pool: one token, by its rules."""
        import httpx

        body = {
            "model": STAND_IN,
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 1,
        }
        try:
            answer = httpx.post(
                f"{self._layout.gateway_url}/v1/chat/completions",
                headers={"authorization": f"Bearer {key}"},
                json=body,
                timeout=FIRST_ANSWER_SECONDS_MAX,
                verify=needs_tls(self._layout.gateway_url),
            )
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    def _key(self, brain: Brain) -> str:
        """The saved key while the brain still lists it as working, else a new one."""
        known = self._home.secrets().get(KEY_SECRET, "")
        for key in brain.pages("/api/v1/keys") if known else ():
            if known.startswith(key["prefix"]) and key["revoked_at"] is None:
                return known
        made = brain.post("/api/v1/keys", {"name": "demo", "scopes": DEMO_SCOPES})
        text: str = made["key"]
        self._home.keep_secret(KEY_SECRET, text)
        return text

    def _as(self, email: str, secret: str) -> Brain:
        if email not in self._tokens:
            self._login(email, secret)
        return Brain(self._layout.brain_url, token=self._tokens[email])

    def _login(self, email: str, secret: str) -> None:
        """Log in; where the user is unknown, make it first."""
        if email in self._tokens:
            return
        body = {"email": email, "password": self._home.secrets()[secret]}
        with Brain(self._layout.brain_url) as brain:
            try:
                answer = brain.post("/auth/login", body)
            except Refused as refused:
                if refused.status != 401:
                    raise
                self._make_user(brain, email, body)
                answer = brain.post("/auth/login", body)
        self._tokens[email] = answer["access_token"]

    def _make_user(self, brain: Brain, email: str, body: dict[str, str]) -> None:
        if email == ADMIN_EMAIL:
            self._make_admin()
            return
        brain.post("/auth/register", body)

    def _save_credentials(self, key: str) -> None:
        credentials = Credentials(
            brain_url=self._layout.brain_url,
            gateway_url=self._layout.gateway_url,
            email=DEMO_EMAIL,
            access_token=self._tokens[DEMO_EMAIL],
            expires_at=self._clock.now_ns() // NS + 3600,
            api_key=key,
        )
        write_private(self._home.folder / "credentials", json.dumps(vars(credentials), indent=1))

    @property
    def _agent(self) -> Path:
        return self._home.folder / "agent"

    def _forget_node(self) -> None:
        """A node of another brain's (the database was changed): its key is of no use here."""
        if not self._agent.exists():
            return
        if not self.node_id():
            return
        number = self._clock.now_ns() // NS
        try:
            self._agent.rename(self._agent.with_name(f"agent.{number}.old"))
        except OSError as problem:
            raise CliError(f"{self._agent} cannot be moved away: {problem.strerror}.") from None
