"""A whole installation to harm: workers that keep a journal, and a second gateway."""

from __future__ import annotations

import asyncio
import json
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
from cli.client import Brain
from cli.supervisor.environment import ADMIN_EMAIL, DEMO_EMAIL
from tests.support import gateway as gateways
from tests.support.gateway import Gateway
from tests.support.installation import Installation
from tests.support.wait import until

WORKERS, CREW = 2, 2
READY_SECONDS_MAX = 90.0
SERVES_SECONDS_MAX = 10.0


@dataclass(frozen=True)
class Place:
    """The installation, its second gateway, and where workers write what they began."""

    product: Installation
    crew: Gateway
    journal: Path

    @property
    def ports(self) -> list[int]:
        own = int(self.product.ready["gateway_url"].rsplit(":", 1)[1])
        return [own, self.crew.port, self.crew.port]  # by processes

    def database_url(self) -> str:
        return str(self.product.state()["embedded_database_url"])

    def admin(self) -> Brain:
        """The administrator's calls of the management API."""
        return self.as_user(ADMIN_EMAIL, secret(self.product, "ADMIN_PASSWORD"))

    def demo(self) -> Brain:
        """The same of the account whose key the product printed."""
        return self.as_user(DEMO_EMAIL, secret(self.product, "DEMO_PASSWORD"))

    def as_user(self, email: str, password: str) -> Brain:
        url = self.product.ready["brain_url"]
        with Brain(url) as brain:
            body = {"email": email, "password": password}
            token = brain.post("/auth/login", body)["access_token"]
        return Brain(url, token=token)

    def start_anew(self, admin: Brain) -> None:
        """Where the brain has given up the pool's deployment."""
        found = _pool(self, admin)
        if found["state"] == "failed":
            admin.post(f"/api/v1/deployments/{found['deployment_id']}/start")

    async def serves(self) -> bool:
        """Whether a request through each gateway was answered."""
        for port in sorted(set(self.ports)):
            ready = self.product.ready
            one = Load([port], ready["api_key"], ready["model"], 2, Random(0), clients=2)
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
        here = Place(product, crew, journal)
        with here.admin() as admin:  # one log-in: they have a rate
            await asyncio.to_thread(_scale, here, admin)
            await until(lambda: _workers(here, admin) == WORKERS, READY_SECONDS_MAX, every=0.3)
        await until(here.serves, READY_SECONDS_MAX, every=0.2)
        yield here


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


def _pool(here: Place, brain: Brain) -> Any:
    wanted = here.product.ready["model"]
    found = brain.pages("/api/v1/deployments", pool=True)
    return next(one for one in found if one["pool"] and one["model"] == wanted)


def _scale(here: Place, admin: Brain) -> None:
    path = f"/api/v1/deployments/{_pool(here, admin)['deployment_id']}/scale"
    admin.post(path, {"replicas": WORKERS})


def _workers(here: Place, admin: Brain) -> int:
    return int(_pool(here, admin)["ready_replicas"])
