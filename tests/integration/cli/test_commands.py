"""The commands against a running product: what they show, and what they say to bad input."""

from __future__ import annotations

import json
import secrets
import shlex
from pathlib import Path

import pytest

from tests.support.installation import COMMAND, Installation, command, environment
from tests.support.terminal import Terminal
from tests.support.wait import free_port

PASSWORD = "a long enough password"


@pytest.fixture
def own_home(installation: Installation, tmp_path: Path) -> Path:
    """A home without credentials, pointed at the running brain."""
    home = tmp_path / "own"
    home.mkdir()
    return home


def ask(installation: Installation, home: Path, *arguments: str, text: str = "") -> dict:  # type: ignore[type-arg]
    extra = {"BRAIN_URL": installation.ready["brain_url"]}
    done = command(home, *arguments, "--json", text=text, extra=extra)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict = json.loads(done.stdout)  # type: ignore[type-arg]
    return found


@pytest.mark.feature("N2", "I1")
def test_register_logs_in_and_login_does_so_again(
    installation: Installation, own_home: Path
) -> None:
    email = f"{secrets.token_hex(6)}@example.com"
    for name in ("register", "login"):
        me = ask(
            installation, own_home, name, "--email", email, "--password-stdin", text=PASSWORD + "\n"
        )
        assert me["email"] == email
    assert (own_home / "credentials").stat().st_mode & 0o777 == 0o600


@pytest.mark.feature("N2")
def test_keys_are_made_listed_revoked_and_activated(installation: Installation) -> None:
    made = installation.ask("keys", "create", "laptop", "--scope", "inference")
    listed = installation.ask("keys", "list")
    assert made["key_id"] in {key["key_id"] for key in listed}
    assert made["key"] not in json.dumps(listed)
    assert installation.ask("keys", "revoke", made["key_id"])["revoked"]
    assert state_of(installation, made["key_id"]) == "revoked"
    assert installation.ask("keys", "activate", made["key_id"])["revoked_at"] is None
    assert state_of(installation, made["key_id"]) == "works"


def state_of(installation: Installation, key: str) -> str:
    """As a person reads it."""
    lines = installation.run("keys", "list").stdout.splitlines()
    return next(line.split()[-1] for line in lines if key in line)


@pytest.mark.feature("N2")
def test_an_administrator_credits_an_account_once(
    installation: Installation, own_home: Path
) -> None:
    email = f"{secrets.token_hex(6)}@example.com"
    log_in = ("--email", email, "--password-stdin")
    ask(installation, own_home, "register", *log_in, text=PASSWORD)
    admin = own_home.parent / "admin"
    admin.mkdir()
    secret = json.loads((installation.home / "secrets.json").read_text())["ADMIN_PASSWORD"]
    log_in = ("--email", "admin@example.com", "--password-stdin")
    ask(installation, admin, "login", *log_in, text=secret)
    again = ("admin", "credit", email, "700", "--reason", "a gift", "--idempotency-key", email)
    assert ask(installation, admin, *again) == ask(installation, admin, *again)
    found = ask(installation, own_home, "balance")
    assert found["credits"] == 700
    assert [line["memo"] for line in found["transactions"]] == ["a gift"]


@pytest.mark.feature("N2", "D1")
def test_the_catalog_shows_the_sum_of_a_models_memory(installation: Installation) -> None:
    shown = installation.run("catalog", "Qwen/Qwen2.5-0.5B-Instruct").stdout
    assert "weights" in shown
    assert "MiB each" in shown


@pytest.mark.feature("N2", "D1", "D2")
def test_the_catalog_is_narrowed_to_what_fits(installation: Installation) -> None:
    one = {m["id"]: m for m in installation.ask("catalog", "--fits", "L40S")}
    assert one["Qwen/Qwen3-14B"]["fits_on"]["quantisation"] == "fp8"
    assert "zai-org/GLM-5.2-FP8" not in one
    shown = installation.run("catalog", "--category", "video").stdout
    assert "Wan-AI/Wan2.2-TI2V-5B-Diffusers" in shown
    assert "Qwen/Qwen3-8B" not in shown


@pytest.mark.feature("N2", "D1", "D2")
def test_a_model_shows_where_it_fits_at_what_price(installation: Installation) -> None:
    shown = installation.run("catalog", "show", "ganglion/stand-in").stdout
    assert "Where it fits, and the cheapest of each kind now" in shown
    assert "$" in shown, "the installation's own node has a price"
    found = installation.ask("catalog", "show", "Qwen/Qwen3-8B:fp8")
    assert (found["id"], found["weights"]) == ("Qwen/Qwen3-8B:fp8", "fp8")


@pytest.mark.feature("N2", "D3", "D4", "D5")
def test_a_deployment_from_deploy_to_delete(installation: Installation) -> None:
    name = f"d-{secrets.token_hex(3)}"
    made = installation.ask("deploy", "ganglion/stand-in", "--name", name)
    assert made["state"] == "running"
    assert installation.ask("deployments", "why", name)["candidates"][0]["ok"]
    assert "ready" in installation.run("deployments", "events", name).stdout
    assert name in installation.run("deployments", "list").stdout
    assert installation.ask("stop", name)["state"] == "stopped"
    assert installation.ask("deployments", "delete", name)["deleted"]


@pytest.mark.feature("N2", "D5")
def test_a_stopped_deployment_is_started_again_and_a_sleeping_one_not_waited_for(
    installation: Installation,
) -> None:
    name = f"d-{secrets.token_hex(3)}"
    installation.ask("deploy", "ganglion/stand-in", "--name", name)
    installation.ask("stop", name)
    started = on_a_terminal(installation, "deployments", "start", name)
    assert "s  waiting" in started, "a person sees that it goes on"
    assert f"{name} is running.\n" in started
    assert "stopped" not in started, "what ended before is no news"
    installation.ask("deployments", "scale", name, "0")
    installation.ask("stop", name)
    assert installation.ask("deployments", "start", name)["state"] == "asleep"
    installation.ask("stop", name)
    installation.ask("deployments", "delete", name)


def on_a_terminal(installation: Installation, *arguments: str) -> str:
    """What a command shows a person."""
    line = shlex.join([*COMMAND, *arguments])
    terminal = Terminal(line, installation.home.parent, environment(installation.home))
    try:
        assert terminal.wait(60) == 0, terminal.shown
        return terminal.shown
    finally:
        terminal.close()


@pytest.mark.feature("N2")
def test_status_doctor_nodes_and_balance_answer(installation: Installation) -> None:
    parts = {part["name"]: part["state"] for part in installation.ask("status")["parts"]}
    assert set(parts.values()) == {"running"}
    assert installation.run("doctor").returncode == 0
    assert installation.ask("nodes")[0]["simulated"]
    assert "simulated" in installation.run("nodes").stdout
    assert installation.ask("balance")["credits"] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("deploy", "no/such-model"), "The catalog has no model"),
        (("catalog", "--fits", "Voodoo"), "No such GPU is known"),
        (("catalog", "show"), "Name one model"),
        (("deployments", "show", "nothing"), "You have no deployment called 'nothing'"),
        (("deployments", "show", "dep_xyz"), "not an id"),
        (("receipt", "req_" + "0" * 32), "no such request"),
        (("receipt", "/no/such/file.json"), "cannot be read as a receipt"),
        (("keys", "revoke", "gk_" + "A" * 43), "That is a key itself"),
        (("keys", "activate", "gk_" + "A" * 43), "That is a key itself"),
        (("keys", "create", "x", "--scope", "everything"), "scopes"),
        (("keys", "create", "x", "--cost-limit-usd", "lots"), "cost_limit_usd"),
        (("deploy", "ganglion/stand-in", "--max-price", "cheap"), "max_price_usd_per_gpu_hour"),
        (("nodes", "price", "node_1", "0.5"), "not an id"),
        (("admin", "credit", "demo@example.com", "5"), "Only an administrator may"),
    ],
)
def test_bad_input_is_one_sentence(
    installation: Installation, arguments: tuple[str, ...], sentence: str
) -> None:
    done = installation.run(*arguments)
    assert done.returncode == 1
    assert sentence.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("deploy",),
        ("deploy", "m", "--replicas", "many"),
        ("deploy", "m", "--replicas", "65"),
        ("logs", "x", "--tail", "-1"),
        ("nothing",),
        ("up", "--brain-port", "70000"),
    ],
)
def test_wrong_use_is_told_with_exit_code_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = command(tmp_path / "home", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_without_a_log_in_it_says_how_to_log_in(installation: Installation, own_home: Path) -> None:
    done = command(own_home, "balance", extra={"BRAIN_URL": installation.ready["brain_url"]})
    assert done.returncode == 1
    assert "ganglion login" in done.stderr


def test_a_wrong_password_is_refused_in_one_sentence(
    installation: Installation, own_home: Path
) -> None:
    done = command(
        own_home,
        *("login", "--email", "demo@example.com", "--password-stdin"),
        text="wrong\n",
        extra={"BRAIN_URL": installation.ready["brain_url"]},
    )
    assert done.returncode == 1
    assert "The e-mail or the password is wrong" in done.stderr


def test_a_brain_that_is_away_is_told_with_what_to_do(tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    done = command(
        tmp_path / "home",
        *("login", "--email", "a@example.com", "--password-stdin", "--brain-url", away),
        text="x\n",
    )
    assert done.returncode == 1
    assert f"Nothing answers at {away}" in done.stderr
    assert "ganglion up" in done.stderr


def test_an_error_is_json_for_machines(tmp_path: Path) -> None:
    done = command(tmp_path / "home", "balance", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == "logged_out"


def test_what_is_no_brain_is_told_so(installation: Installation, own_home: Path) -> None:
    done = command(
        own_home,
        *("login", "--email", "a@example.com", "--password-stdin"),
        *("--brain-url", installation.ready["gateway_url"]),
        text="x\n",
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_status_of_nothing_says_how_to_start(tmp_path: Path) -> None:
    done = command(tmp_path / "home", "status")
    assert done.returncode == 1
    assert "ganglion up" in done.stderr
