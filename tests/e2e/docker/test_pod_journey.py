"""A renter's own image on a real Docker: created, its file kept over stop and start, paid, gone."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import httpx
import pytest

from cli.supervisor.environment import ADMIN_EMAIL
from cli.supervisor.home import Home
from tests.support.installation import Installation, command
from tests.support.wait import until
from tests.support.worker_image import BUSYBOX

pytestmark = [pytest.mark.real("dockerd"), pytest.mark.feature("E1", "E2", "E3")]
SCRIPT = (
    'echo "found: $(cat /data/kept)"; echo "$WORD" > /data/kept; exec httpd -f -p 8080 -h /data'
)


def left_behind(product: Installation) -> Path:
    """A volume on the node's disk that the brain knows nothing of, as after a restored backup."""
    volume = product.home / "agent" / "volumes" / "left-behind"
    volume.mkdir(parents=True)
    (volume / "size").write_text("16")
    return volume


def as_admin(product: Installation, *arguments: str) -> Any:
    home, extra = product.home.parent / "admin", {"BRAIN_URL": product.ready["brain_url"]}
    if not home.exists():
        home.mkdir()
        text = Home(product.home).secrets()["ADMIN_PASSWORD"] + "\n"
        command(home, "login", "--email", ADMIN_EMAIL, "--password-stdin", text=text, extra=extra)
    done = command(home, "admin", *arguments, "--json", extra=extra)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


async def removed_by_an_administrator(product: Installation, volume: Path) -> None:
    [stray] = await until(lambda: as_admin(product, "strays"), seconds=120, every=2)
    assert (stray["volume_id"], stray["dropping"]) == (volume.name, False)
    as_admin(product, "drop-stray", stray["node_id"], volume.name, "--yes")
    await until(lambda: not volume.exists(), seconds=120, every=0.5)
    await until(lambda: as_admin(product, "strays") == [], seconds=120, every=1)


def nothing_kept(product: Installation) -> bool:
    kept = product.ask("volume", "list")
    assert [(one["state"], one["reason"]) for one in kept] == []
    return True


async def printed(product: Installation, text: str) -> None:
    def there() -> bool:
        return any(text in line["text"] for line in product.ask("pod", "logs", "box"))

    await until(there, seconds=120, every=1, why=text)


def proofs(product: Installation) -> list[dict[str, Any]]:
    """As an account sees them: over its own leases."""
    known = json.loads((product.home / "credentials").read_text())
    answer = httpx.get(
        f"{product.ready['brain_url']}/api/v1/proofs",
        headers={"authorization": f"Bearer {known['access_token']}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


async def served(product: Installation, path: str) -> str:
    """What the pod's own server answers at its address."""
    address = urlsplit(product.ask("pod", "url", "box")["url"])
    here = f"http://127.0.0.1:{address.port}{path}"  # not every resolver knows *.localhost

    def answered() -> str:
        answer = httpx.get(here, headers={"host": address.netloc}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text

    return await until(answered, seconds=120, every=1)


async def test_a_pod_keeps_its_file_is_paid_for_and_leaves_nothing(
    product: Installation, engine_client: docker.APIClient
) -> None:
    stray = left_behind(product)
    made = product.ask(
        "pod", "create", BUSYBOX, "--name", "box", "--simulated", "--port", "8080",
        "--env", "WORD=from the first run", "--volume", "kept:/data:1", "--command", "sh",
        "--command=-c", f"--command={SCRIPT}",
    )  # fmt: skip
    assert (made["state"], made["image"], len(made["volumes"])) == ("running", BUSYBOX, 1)
    [container] = product.containers(engine_client, BUSYBOX)
    facts = engine_client.inspect_container(container["Id"])
    assert "WORD=from the first run" in facts["Config"]["Env"]
    assert facts["HostConfig"]["Privileged"] is False
    assert [mount["Destination"] for mount in facts["Mounts"]] == ["/data"]
    await printed(product, "found: ")
    assert await served(product, "/kept") == "from the first run\n"

    stopped = product.ask("pod", "stop", "box")
    assert (stopped["state"], stopped["slug"]) == ("stopped", made["slug"])
    assert product.containers(engine_client, BUSYBOX) == []
    [volume] = product.ask("volume", "list")
    assert (volume["state"], volume["name"]) == ("kept", "kept")

    started = product.ask("pod", "start", "box")
    assert (started["slug"], started["ports"]) == (made["slug"], made["ports"])
    assert started["run"]["lease_id"] != made["run"]["lease_id"]
    await printed(product, "found: from the first run")
    assert await served(product, "/kept") == "from the first run\n"

    ended = product.ask("pod", "delete", "box", "--volumes")
    assert ended["state"] == "terminated"
    assert Decimal(ended["cost_usd"]) > 0
    assert product.containers(engine_client, BUSYBOX) == []
    await until(lambda: nothing_kept(product), seconds=90, every=2)
    assert list((product.home / "agent" / "volumes").glob("vol_*")) == []
    assert product.ask("pod", "list") == []
    assert all(proof["holds"] for proof in proofs(product))
    await removed_by_an_administrator(product, stray)
