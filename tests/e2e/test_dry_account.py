"""An account whose credit runs out: its model and its pod end within half a minute, their owner is
told once, and the pod's volume is kept."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import docker
import pytest

from cli.supervisor.environment import ADMIN_EMAIL
from cli.supervisor.home import Home
from tests.support.installation import Installation, command
from tests.support.smtp import SmtpServer, smtp_server
from tests.support.wait import until
from tests.support.worker_image import BUSYBOX, busybox_image

pytestmark = [pytest.mark.real("dockerd"), pytest.mark.feature("G6"), pytest.mark.long]
PASSWORD, OWNER = "a long enough password", "owner@example.com"
CREDITS = 340  # two GPUs at $0.50 an hour: two minutes of cover for each, and a second


class Person:
    """Somebody with a home and a log-in of their own."""

    def __init__(self, product: Installation, name: str) -> None:
        self.home = product.home.parent / name
        self.extra = {"BRAIN_URL": product.ready["brain_url"]}
        self.home.mkdir()

    def ask(self, *arguments: str, text: str = "") -> Any:
        done = command(self.home, *arguments, "--json", text=text, extra=self.extra)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def state(self, *arguments: str) -> str:
        return str(self.ask(*arguments)["state"])


def started(product: Installation, dockerd: str, mail: SmtpServer) -> Person:
    """The product, and an owner with so much credit."""
    settings = {
        "AGENT_ENGINE": "docker",
        "DOCKER_HOST": dockerd,
        "AGENT_FIREWALL": "false",
        "AGENT_DISK_RESERVE_MIB": "0",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mail.port),
        "SMTP_TLS": "none",
    }
    ready = product.start("--simulate-gpus", "3", extra=settings)
    log = product.home.parent / f"{product.home.name}.up.log"
    assert "brain_url" in ready, f"{ready} {log.read_text()[-3000:]}"
    admin, owner = Person(product, "admin"), Person(product, "owner")
    secret = Home(product.home).secrets()["ADMIN_PASSWORD"] + "\n"
    admin.ask("login", "--email", ADMIN_EMAIL, "--password-stdin", text=secret)
    owner.ask("register", "--email", OWNER, "--password-stdin", text=PASSWORD + "\n")
    admin.ask("admin", "credit", OWNER, str(CREDITS), "--kind", "purchase")
    return owner


async def test_credit_that_runs_out_ends_what_it_paid_for(
    fresh_installation: Installation,
    dockerd: str,
    engine_client: docker.APIClient,
    tmp_path: Path,
) -> None:
    product = fresh_installation
    busybox_image(engine_client)
    async with smtp_server() as mail:
        owner = started(product, dockerd, mail)
        owner.ask("credits", "alerts", "--below", "0.02")
        owner.ask("deploy", "ganglion/stand-in", "--name", "mine")
        # As its first process it ignores the word to end.
        owner.ask(
            "pod", "create", BUSYBOX, "--name", "box", "--simulated", "--volume", "kept:/data:1",
            "--command", "sleep", "--command=100000",
        )  # fmt: skip

        def reason() -> str:
            return str(owner.ask("pod", "show", "box")["reason"])

        await until(lambda: "out of credit" in reason(), seconds=150, every=0.5)
        began = time.monotonic()
        await until(lambda: product.containers(engine_client, BUSYBOX) == [], seconds=30, every=0.2)
        await until(lambda: owner.state("pod", "show", "box") == "stopped", seconds=30, every=0.5)
        await until(
            lambda: owner.state("deployments", "show", "mine") == "stopped", seconds=30, every=0.5
        )
        assert time.monotonic() - began < 30
        [volume] = owner.ask("volume", "list")
        assert (volume["name"], volume["state"]) == ("kept", "kept")
        assert owner.ask("credits", "balance")["posted_nano"] > -(10 * 2 * 500_000_000 // 3600)
        await until(lambda: told(mail, "are stopped") == 1, seconds=30, every=0.5)
        assert (told(mail, "Your credit is below"), told(mail, "Receipt RCT-")) == (1, 1)


def told(mail: SmtpServer, words: str) -> int:
    return sum(words in letter["subject"] for letter in mail.letters if letter["to"] == OWNER)
