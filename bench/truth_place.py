"""A whole installation to harm: workers that keep a journal, and a second gateway."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from bench.truth_faults import planted
from bench.truth_load import Load
from bench.truth_mix import Caller
from cli.client import Brain
from cli.supervisor.environment import ADMIN_EMAIL, DEMO_EMAIL
from tests.support import gateway as gateways
from tests.support.gateway import Gateway
from tests.support.installation import Installation
from tests.support.wait import until

WORKERS, CREW = 2, 2
OWN, OWNER_CREDITS = "own", 10_000_000
READY_SECONDS_MAX = 90.0
SERVES_SECONDS_MAX = 10.0


@dataclass(frozen=True)
class Owner:
    """An account that was made here, its key, and its deployment."""

    email: str
    password: str
    key: str
    deployment_id: str


@dataclass(frozen=True)
class Place:
    """The installation, its second gateway, where workers write what they began, and an account
    that has a deployment of its own beside the pool."""

    product: Installation
    crew: Gateway
    journal: Path
    owner: Owner

    @property
    def ports(self) -> list[int]:
        own = int(self.product.ready["gateway_url"].rsplit(":", 1)[1])
        return [own, self.crew.port, self.crew.port]  # by processes

    def database_url(self) -> str:
        return str(self.product.state()["embedded_database_url"])

    def admin(self) -> Brain:
        """The administrator's calls of the management API."""
        return _administrator(self.product)

    def demo(self) -> Brain:
        """The same of the account whose key the product printed."""
        return self.as_user(DEMO_EMAIL, secret(self.product, "DEMO_PASSWORD"))

    def of_owner(self) -> Brain:
        """The same of the account that has a deployment of its own."""
        return self.as_user(self.owner.email, self.owner.password)

    def as_user(self, email: str, password: str) -> Brain:
        return logged_in(self.product, email, password)

    @property
    def callers(self) -> list[Caller]:
        ready = self.product.ready
        return [Caller(ready["api_key"], ready["model"]), Caller(self.owner.key, OWN)]

    def start_anew(self, admin: Brain, owner: Brain) -> None:
        """Where the brain has given up a deployment."""
        for brain, found in ((admin, _pool(self.product, admin)), (owner, _own(self, owner))):
            if found["state"] == "failed":
                brain.post(f"/api/v1/deployments/{found['deployment_id']}/start")

    async def serves(self) -> bool:
        """Whether a request through each gateway was answered."""
        for port in sorted(set(self.ports)):
            one = Load([port], self.callers, 2, Random(0), clients=2)
            try:
                async with asyncio.timeout(SERVES_SECONDS_MAX):
                    await one.run()
            except TimeoutError:
                return False
        return True


def secret(product: Installation, name: str) -> str:
    return str(json.loads((product.home / "secrets.json").read_text())[name])


@asynccontextmanager
async def place(broken: str = "", data: Path | None = None) -> AsyncIterator[Place]:
    """A whole installation on free ports, with a journal, two workers and two gateways.

    ``data``: a database that is there already."""
    folder = Path(tempfile.mkdtemp(prefix="ganglion-truth-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        product, journal = Installation(folder / "home", data), folder / "journal"
        stack.callback(_stopped, product)
        # No cloud: what ran on a rented machine would not be in the journal.
        own = {"STAND_IN_JOURNAL": str(journal), "USE_MOCK_PROVIDERS": "false"}
        ready = await asyncio.to_thread(product.start, extra=own)
        if "brain_url" not in ready:
            raise RuntimeError(f"the product did not start: {ready}")
        crew = await asyncio.to_thread(_join, product, folder, broken)
        stack.callback(crew.kill)
        with _administrator(product) as admin:  # one log-in: they have a rate
            await asyncio.to_thread(_scale, product, admin)
            owner = await asyncio.to_thread(_owner, product, admin)
            await until(lambda: _workers(product, admin), READY_SECONDS_MAX, every=0.3)
        here = Place(product, crew, journal, owner)
        with here.of_owner() as brain:
            await until(lambda: _own(here, brain)["ready_replicas"], READY_SECONDS_MAX, every=0.3)
        await until(here.serves, READY_SECONDS_MAX, every=0.2)
        yield here


def logged_in(product: Installation, email: str, password: str) -> Brain:
    url = product.ready["brain_url"]
    with Brain(url) as brain:
        token = brain.post("/auth/login", {"email": email, "password": password})["access_token"]
    return Brain(url, token=token)


def opened(admin: Brain, credits: int) -> tuple[str, str]:
    """E-mail and password of a new account that has so much."""
    email, password = f"{secrets.token_hex(6)}@example.com", secrets.token_hex(12)
    admin.post("/auth/register", {"email": email, "password": password})
    wanted = {"email": email, "credits": credits, "kind": "promo", "reason": "a test"}
    admin.post("/api/v1/admin/credits", wanted | {"idempotency_key": secrets.token_hex(8)})
    return email, password


def _stopped(product: Installation) -> None:
    if product.process is not None and product.process.poll() is None:
        product.stop()


def _join(product: Installation, folder: Path, broken: str) -> Gateway:
    return gateways.launch(
        folder / "crew",
        brain_url=product.ready["brain_url"],
        gateway_token=secret(product, "GATEWAY_TOKEN"),
        gateway_name="crew",
        gateway_processes=CREW,
        pythonpath=planted(broken, folder / "planted"),
    )


def _administrator(product: Installation) -> Brain:
    return logged_in(product, ADMIN_EMAIL, secret(product, "ADMIN_PASSWORD"))


def _owner(product: Installation, admin: Brain) -> Owner:
    email, password = opened(admin, OWNER_CREDITS)
    with logged_in(product, email, password) as brain:
        wanted = {"model": product.ready["model"], "name": OWN}
        made = brain.post("/api/v1/deployments", wanted)
        key = brain.post("/api/v1/keys", {"name": "own", "scopes": ["inference"]})
    return Owner(email, password, str(key["key"]), str(made["deployment_id"]))


def _own(here: Place, brain: Brain) -> Any:
    return brain.get(f"/api/v1/deployments/{here.owner.deployment_id}")


def _pool(product: Installation, brain: Brain) -> Any:
    wanted = product.ready["model"]
    found = brain.pages("/api/v1/deployments", pool=True)
    return next(one for one in found if one["pool"] and one["model"] == wanted)


def _scale(product: Installation, admin: Brain) -> None:
    path = f"/api/v1/deployments/{_pool(product, admin)['deployment_id']}/scale"
    admin.post(path, {"replicas": WORKERS})


def _workers(product: Installation, admin: Brain) -> bool:
    return int(_pool(product, admin)["ready_replicas"]) == WORKERS
