"""A pod with a private image of a registry that demands log-in, and what is never told of it.

Registry, Docker, brain and agent are real: credentials that the account keeps, sealed, are given
to the one node that pulls with them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.installation import Installation
from tests.support.registry import PASSWORD, USER, Registry, padded, registry_in
from tests.support.wait import until
from tests.support.worker_image import worker_image

pytestmark = [pytest.mark.real("dockerd"), pytest.mark.feature("E1"), pytest.mark.long]
WRONG = "a-guess-at-somebodys-password"
SECRETS = (PASSWORD, WRONG)
NAME = "team/private:1"
PIECE = 1 << 20
COMMAND = ("--simulated", "--command", "sh", "--command=-c", "--command=sleep 600")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, dockerd: str) -> Iterator[Registry]:
    with registry_in(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def image(registry: Registry, engine_client: docker.APIClient) -> Iterator[str]:
    """In the registry alone: pushed to it by Docker, and not kept."""
    made = padded(engine_client, NAME, mib=1)
    registry.holds(engine_client, made, NAME)
    engine_client.remove_image(made)
    yield registry.image(NAME)
    if engine_client.images(registry.image(NAME)):
        engine_client.remove_image(registry.image(NAME), force=True)


@pytest.fixture
def product(
    fresh_installation: Installation, dockerd: str, engine_client: docker.APIClient
) -> Installation:
    """The product whose node runs containers."""
    worker_image(engine_client, "ganglion/stand-in:dev")  # of the pool's first worker
    settings = {
        "AGENT_ENGINE": "docker",
        "DOCKER_HOST": dockerd,
        "AGENT_FIREWALL": "false",
        "AGENT_DISK_RESERVE_MIB": "0",
    }
    ready = fresh_installation.start("--simulate-gpus", "4", extra=settings)
    assert "brain_url" in ready, ready
    return fresh_installation


async def failed_by(product: Installation, pod: str, sign: str) -> str:
    """What the pod's own events say of the start that failed."""

    def told() -> str:
        found = [one["reason"] for one in product.ask("pod", "events", pod) if one["reason"]]
        return next((reason for reason in found if sign in reason), "")

    return str(await until(told, seconds=120, every=1, why=sign))


def forms(secret: str) -> list[bytes]:
    """As it is, and as it reads within base64 at each of the three places it may begin."""
    coded = [base64.b64encode(b"?" * lead + secret.encode()) for lead in range(3)]
    inner = [code[(8 * lead + 5) // 6 : -4] for lead, code in enumerate(coded)]
    return [secret.encode(), *inner]


def holds_one(path: Path) -> bool:
    """Whether the file has one of the secrets in it, at a piece's edge too."""
    needles = [form for secret in SECRETS for form in forms(secret)]
    with path.open("rb") as file:
        pieces = iter(lambda: file.read(PIECE), b"")
        ends = [b"", *pieces, b""]
    return any(n in before[-200:] + piece for before, piece in pairwise(ends) for n in needles)


def leaks(product: Installation) -> list[str]:
    """Files of the product that hold a secret: database, logs, the agent's own."""
    home = product.home
    files = [home.parent / f"{home.name}.up.log", *home.rglob("*")]
    return [str(path) for path in files if path.is_file() and holds_one(path)]


def shown(product: Installation, client: docker.APIClient, image: str) -> str:
    """All that the interface and Docker tell of the pods, their image and the credentials."""
    sdk: Any = client  # whose types leave these calls out
    told: list[Any] = [product.ask("registry", "list"), product.ask("pod", "list")]
    for pod in ("mine", "guessing", "asking"):
        told += [product.ask("pod", verb, pod) for verb in ("show", "events", "logs", "why")]
    told += [client.inspect_container(one["Id"]) for one in product.containers(client, "")]
    told += [sdk.inspect_image(image), sdk.history(image)]
    return json.dumps(told)


async def test_a_private_image_is_pulled_with_the_accounts_credentials_and_they_stay_secret(
    product: Installation, registry: Registry, image: str, engine_client: docker.APIClient
) -> None:
    server = registry.login().server
    product.ask("registry", "add", "hub", server, USER, text=PASSWORD)
    product.ask("registry", "add", "guess", server, USER, text=WRONG)

    made = product.ask("pod", "create", image, "--name", "mine", "--registry", "hub", *COMMAND)
    assert (made["state"], made["image"]) == ("running", image)
    assert len(product.containers(engine_client, image)) == 1

    # From here on the image lies on the node, and is given to nobody without the registry's word.
    for pod, chosen in (("guessing", ("--registry", "guess")), ("asking", ())):
        product.ask("pod", "create", image, "--name", pod, "--no-wait", *chosen, *COMMAND)
    refused = await failed_by(product, "guessing", "refuses the credentials")
    missing = await failed_by(product, "asking", "choose credentials")
    assert server in refused
    assert server in missing
    assert product.ask("pod", "show", "mine")["state"] == "running"
    assert len(product.containers(engine_client, image)) == 1

    told = shown(product, engine_client, image)
    assert [form for secret in SECRETS for form in forms(secret) if form.decode() in told] == []
    assert leaks(product) == []

    held = product.run("registry", "delete", "hub")
    assert held.returncode == 1
    assert "mine" in held.stderr
    for pod in ("mine", "guessing", "asking"):
        product.ask("pod", "delete", pod)
    product.ask("registry", "delete", "hub")
    late = product.run("pod", "create", image, "--name", "late", "--registry", "hub", *COMMAND)
    assert late.returncode == 1
    assert "no registry credentials hub" in late.stderr
    assert product.stop() == 0
    assert leaks(product) == []
