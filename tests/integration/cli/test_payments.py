"""``ganglion topup`` against a brain on a port and Stripe's stand-in in a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from brain.app import create_app
from brain.payments import reconcile_payments
from cli.embedded.child import die_with_parent
from tests.support.brain import quick_passwords, settings_for_tests
from tests.support.installation import command
from tests.support.shared import ROOT
from tests.support.wait import free_port, until

PASSWORD = "a long enough password"


@dataclass
class Shop:
    """A home of the command, pointed at the brain; ``stripe`` is the stand-in's address."""

    home: Path
    url: str
    stripe: str

    async def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        extra = {"BRAIN_URL": self.url}
        return await asyncio.to_thread(command, self.home, *arguments, text=text, extra=extra)

    async def ask(self, *arguments: str, text: str = "") -> Any:
        done = await self.run(*arguments, "--json", text=text)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    async def person(self, url: str, card: str = "pm_card_visa") -> None:
        """What somebody does on the processor's page."""
        async with httpx.AsyncClient() as client:
            assert (await client.post(url, data={"card": card})).status_code < 400


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    port = free_port()
    hook = f"http://127.0.0.1:{port}/webhooks/stripe"
    stand_in = subprocess.Popen(
        [sys.executable, "-m", "standins.payments.stripe", "--port", "0", "--webhook", hook],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),
    )
    assert stand_in.stdout is not None
    point = json.loads(stand_in.stdout.readline())["point"]
    settings = settings_for_tests(
        database_url,
        public_brain_url=f"http://127.0.0.1:{port}",
        **{n.lower(): v for n, v in point.items() if n.startswith("STRIPE_")},
    )
    home = tmp_path / "home"
    home.mkdir()
    app = create_app(settings, passwords=quick_passwords())
    async with served(app, port):
        yield Shop(home, settings.public_brain_url, point["STRIPE_API_BASE"])
    stand_in.kill()
    stand_in.wait()
    stand_in.stdout.close()


@asynccontextmanager
async def served(app: FastAPI, port: int) -> AsyncIterator[None]:
    """The app on a port, and its loop of payments beside it."""
    config = uvicorn.Config(app, port=port, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    ticking = asyncio.create_task(ticks(app))
    await until(lambda: server.started)
    yield
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking
    server.should_exit = True
    await serving


async def ticks(app: FastAPI) -> None:
    while True:
        await reconcile_payments(app.state.ctx, app.state.payments, owner="test")
        await app.state.ctx.clock.sleep(0.2)


@pytest.mark.feature("H1", "N2")
async def test_topping_up_from_the_command_line(shop: Shop) -> None:
    me = ("register", "--email", "a@example.com", "--password-stdin")
    await shop.ask(*me, text=PASSWORD + "\n")
    alone = await shop.run("topup", "25")
    assert (alone.returncode, "no saved card" in alone.stderr) == (1, True)

    page = await shop.ask("topup", "40", "--page", "--wait", "0")
    await shop.person(page["url"])
    await shop.person((await shop.ask("cards", "add"))["url"], "pm_card_mastercard")
    (card,) = await until(lambda: shop.ask("cards", "list"))  # once the processor has told
    assert (card["brand"], card["default"]) == ("mastercard", True)

    paid = await shop.run("topup", "25")
    assert "$25.00 paid by mastercard ending in 4444" in paid.stdout
    last = await until(partial(newest_of_two_paid, shop), 60)
    await shop.ask("topups", "refund", last["topup_id"], "--amount", "10")
    await until(partial(shows, shop, "$15.00", "kept_usd", "topups", "receipt", last["topup_id"]))
    await until(partial(shows, shop, "$55.00", "free_usd", "balance"))
    assert (await shop.ask("refill", "on"))["card_label"] == "mastercard ending in 4444"
    assert not (await shop.ask("refill", "off"))["enabled"]


async def newest_of_two_paid(shop: Shop) -> Any:
    (last, first) = await shop.ask("topups", "list")
    assert (last["state"], first["state"]) == ("paid", "paid")
    return last


async def shows(shop: Shop, wanted: str, field: str, *arguments: str) -> bool:
    """What the processor does is booked once it has told."""
    found = (await shop.ask(*arguments))[field]
    assert found == wanted
    return True


async def test_a_refused_card_is_an_error_that_names_the_next_step(shop: Shop) -> None:
    me = ("register", "--email", "a@example.com", "--password-stdin")
    await shop.ask(*me, text=PASSWORD + "\n")
    await shop.person((await shop.ask("cards", "add"))["url"], "pm_card_chargeCustomerFail")
    await until(lambda: shop.ask("cards", "list"))
    done = await shop.run("topup", "25")
    assert done.returncode == 1
    assert "Nothing was taken" in done.stderr
    assert "--page" in done.stderr
