"""register, login, balance, keys: the account and what opens it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, listed, stranger
from cli.faults import CliError
from cli.output import cell, console, dollars, facts, show_json, table, when

keys = typer.Typer(no_args_is_help=True, help="API keys: make, list, revoke, activate.")

Email = Annotated[str, typer.Option("--email", prompt="E-mail", help="The account's address.")]
Password = Annotated[
    str | None,
    typer.Option("--password", help="Better left out: it is asked for, unseen.", hidden=True),
]
KeyId = Annotated[str, typer.Argument(help="The key's id (key_…), not the key itself.")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


def read_password(given: str | None, from_stdin: bool, *, confirm: bool) -> str:
    if given is not None:
        return given
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=confirm)
    return typed


def register(
    email: Email,
    password: Password = None,
    password_stdin: FromStdin = False,
    name: Annotated[str | None, typer.Option(help="What to call the account.")] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Make an account and log in to it."""
    secret = read_password(password, password_stdin, confirm=True)
    body = {"email": email, "password": secret, **({"name": name} if name else {})}
    with stranger(brain_url) as brain:
        brain.post("/auth/register", body)
    _log_in(email, secret, brain_url, json)


def login(
    email: Email,
    password: Password = None,
    password_stdin: FromStdin = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Log in; the token is kept in a file that only you can read."""
    secret = read_password(password, password_stdin, confirm=False)
    _log_in(email, secret, brain_url, json)


def _log_in(email: str, password: str, brain_url: str | None, json: bool) -> None:
    from cli import credentials, settings
    from cli.client import Brain
    from kernel.clock import NS, SystemClock

    loaded = settings.load()
    with stranger(brain_url) as brain:
        token = brain.post("/auth/login", {"email": email, "password": password})
        about = brain.get("/")
    with Brain(brain.url, token=token["access_token"]) as brain:
        me = brain.get("/auth/me")
    before = credentials.load(loaded)
    place = credentials.save(
        loaded,
        credentials.Credentials(
            brain_url=brain.url,
            gateway_url=str(about.get("gateway", "")),
            email=email,
            access_token=token["access_token"],
            expires_at=SystemClock().now_ns() // NS + int(token["expires_in"]),
            api_key=before.api_key if before.email == email else "",
        ),
    )
    if json:
        show_json(me)
        return
    console.print(f"Logged in as [bold]{cell(me['email'])}[/] at {brain.url}.")
    facts({"account": me["account_id"], "credentials": str(place)})


def balance(brain_url: BrainUrl = None, json: Json = False) -> None:
    """What the account has, and its last bookings."""
    with connect(brain_url, user=True) as brain:
        found = brain.get("/api/v1/billing/balance")
        lines = listed(brain, "/api/v1/billing/transactions", 10)
    if json:
        show_json({**found, "transactions": lines})
        return
    facts(
        {
            "free": f"[bold]{dollars(found['free_usd'])}[/] ({found['credits']:,} credits)",
            "held": dollars(_usd(found["held_nano"])),
            "posted": dollars(_usd(found["posted_nano"])),
            "stopped": "[red]yes: add credit[/]" if found["stopped"] else "no",
        }
    )
    table(
        "\nLast bookings",
        ["at", "kind", ">amount", "memo"],
        [[when(t["at"]), t["kind"], dollars(t["amount_usd"]), cell(t["memo"])] for t in lines],
        empty="No bookings yet.",
    )


def _usd(nano: int) -> str:
    from kernel.money import Money

    return str(Money(nano))


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="read, write, admin or inference; repeat it for several."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model; repeat it for several.")
    ] = None,
    expires_in_days: Annotated[int | None, typer.Option(help="Days until it ends.")] = None,
    cost_limit_usd: Annotated[
        str | None, typer.Option(help="The most that one request may cost.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="The most requests a minute on the gateway.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(help="The most tokens a minute, of prompts and answers.")
    ] = None,
    requests_at_once: Annotated[
        int | None, typer.Option(help="The most requests that run at the same time.")
    ] = None,
    save: Annotated[
        bool, typer.Option(help="Keep it with the credentials, for when the log-in ends.")
    ] = False,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Make an API key. It is shown this once."""
    body: dict[str, Any] = {"name": name}
    wanted = {
        "scopes": scope or None,
        "models": model or None,
        "expires_in_days": expires_in_days,
        "cost_limit_usd": cost_limit_usd,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "requests_at_once": requests_at_once,
    }
    body |= {field: value for field, value in wanted.items() if value is not None}
    with connect(brain_url, user=True) as brain:
        made = brain.post("/api/v1/keys", body)
    if save:
        _keep(made["key"])
    if json:
        show_json(made)
        return
    console.print(f"[bold green]{made['key']}[/]", soft_wrap=True)
    console.print("[dim]Write it down: it is not shown again.[/]")
    facts({"id": made["key_id"], "scopes": ", ".join(made["scopes"])})


def _keep(key: str) -> None:
    from dataclasses import replace

    from cli import credentials, settings

    loaded = settings.load()
    credentials.save(loaded, replace(credentials.load(loaded), api_key=key))


@keys.command("list")
def list_keys(brain_url: BrainUrl = None, json: Json = False, limit: Limit = 50) -> None:
    """The account's keys, without their secrets."""
    with connect(brain_url, user=True) as brain:
        found = listed(brain, "/api/v1/keys", limit)
    if json:
        show_json(found)
        return
    table(
        "",
        ["id", "name", "key", "scopes", "last used", "state"],
        [
            [
                k["key_id"],
                cell(k["name"]),
                f"{k['prefix']}…",
                ", ".join(k["scopes"]),
                when(k["last_used_at"]),
                "[red]revoked[/]" if k["revoked_at"] else "[green]works[/]",
            ]
            for k in found
        ],
        empty="No keys yet. Make one with: ganglion keys create NAME",
    )


@keys.command("revoke")
def revoke_key(key: KeyId, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Revoke a key: refused everywhere within a second."""
    _refuse_a_secret(key)
    with connect(brain_url, user=True) as brain:
        brain.delete(f"/api/v1/keys/{key}")
    if json:
        show_json({"key_id": key, "revoked": True})
        return
    console.print(f"{cell(key)} is revoked.")


@keys.command("activate")
def activate_key(key: KeyId, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Let a revoked key work again: everywhere within a second."""
    _refuse_a_secret(key)
    with connect(brain_url, user=True) as brain:
        found = brain.post(f"/api/v1/keys/{key}/activate")
    if json:
        show_json(found)
        return
    console.print(f"{cell(key)} works again.")


def _refuse_a_secret(key: str) -> None:
    if key.startswith("gk_"):
        raise CliError(
            "That is a key itself, which is better not typed into a shell.",
            "Name it by its id; ganglion keys list shows it.",
        )
