"""admin: the first administrator, and credit. Other modules add theirs (``add_to``)."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from cli.commands.account import FromStdin, Password, read_password
from cli.commands.common import BrainUrl, Json, connect
from cli.faults import CliError
from cli.output import cell, console, show_json

app = typer.Typer(no_args_is_help=True, help="For administrators: create, credit, checks, strays.")


@app.command("create")
def create(
    email: Annotated[str, typer.Argument(help="The administrator's address.")],
    password: Password = None,
    password_stdin: FromStdin = False,
    json: Json = False,
) -> None:
    """Make an administrator in the database itself (DATABASE_URL, or that of the local run)."""
    import asyncio

    from sqlalchemy.exc import SQLAlchemyError

    from cli.admin import create_admin

    url = _database_url()
    secret = read_password(password, password_stdin, confirm=True)
    if len(secret) < 8:
        raise CliError("The password is too short.", "Take at least 8 characters.")
    try:
        made = asyncio.run(create_admin(url, email, secret))
    except (OSError, SQLAlchemyError) as problem:
        raise CliError(
            f"The database cannot be used: {type(problem).__name__}.",
            "Check DATABASE_URL; is the database migrated (python -m brain.migrate)?",
        ) from None
    if json:
        show_json({"user_id": made.user_id, "account_id": made.account_id, "email": email})
    else:
        console.print(f"{cell(email)} is an administrator ({made.user_id}).")


@app.command("credit")
def credit(
    email: Annotated[str, typer.Argument(help="Whose account.")],
    credits: Annotated[int, typer.Argument(min=1, help="How many credits.")],
    reason: Annotated[str, typer.Option(help="Stands in the statement.")] = "granted by hand",
    kind: Annotated[str, typer.Option(help="purchase, promo or admin.")] = "admin",
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same key is granted once.")
    ] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Grant credits to an account (logged in as an administrator)."""
    body = {
        "email": email,
        "credits": credits,
        "kind": kind,
        "reason": reason,
        "idempotency_key": key or uuid.uuid4().hex,
    }
    with connect(brain_url, user=True) as brain:
        made = brain.post("/api/v1/admin/credits", body)
    if json:
        show_json(made)
    else:
        console.print(f"{credits:,} credits for {cell(email)} ({made['transaction_id']}).")


def _database_url() -> str:
    from cli import settings
    from cli.supervisor.home import Home

    loaded = settings.load()
    local = str(Home(loaded.home).state().get("embedded_database_url", ""))
    url = loaded.database_url or local
    if not url:
        raise CliError(
            "There is no database to use.", "Set DATABASE_URL, or start one with: ganglion up"
        )
    return url
