"""topup, topups, cards, refill: credit by card, on the processor's page, or by itself."""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.common import BrainUrl, Json, Limit, connect, given, listed, looks
from cli.faults import CliError
from cli.output import cell, console, dollars, facts, show_json, state, table, when

if TYPE_CHECKING:
    from cli.client import Brain

topups = typer.Typer(no_args_is_help=True, help="Top-ups: list, show, receipt, refund, cancel.")
cards = typer.Typer(no_args_is_help=True, help="Saved cards: list, add, default, remove.")
refill = typer.Typer(no_args_is_help=True, help="Automatic refill: show, on, off.")

ROOT = "/api/v1/payments"
MOVING = {"created", "asked", "processing"}
SECONDS_MAX = 900
METHODS = {"page": "page", "crypto": "crypto", "phone": "mobile_money"}

TopUp = Annotated[str, typer.Argument(help="The top-up's id (topup_…).")]
CardId = Annotated[str, typer.Argument(help="The card (pm_…); ganglion cards list shows it.")]
Wait = Annotated[int, typer.Option("--wait", min=0, max=SECONDS_MAX, help="Seconds to wait.")]


def topup(
    amount: Annotated[str | None, typer.Argument(help="Dollars, such as 25.")] = None,
    credits: Annotated[int | None, typer.Option(help="Credits instead of dollars.")] = None,
    card: Annotated[str | None, typer.Option(help="A saved card; else the default one.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Pay on the processor's page.")] = False,
    phone: Annotated[str | None, typer.Option(help="Mobile money: the number that pays.")] = None,
    crypto: Annotated[bool, typer.Option("--crypto", help="Pay with a wallet.")] = False,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same one charges once.")
    ] = None,
    wait: Wait = 300,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Add credit. Without a saved card use --page; the page's address is shown and waited for."""
    if (amount is None) == (credits is None):
        raise CliError("Name an amount.", "Such as: ganglion topup 25 (or --credits 250000)")
    named = [name for name, on in (("page", page), ("crypto", crypto), ("phone", phone)) if on]
    if len(named) + bool(card) > 1:
        raise CliError("Choose one way to pay.", "Leave out all but one of the options.")
    method = METHODS[named[0]] if named else "card"
    body = given(amount_usd=amount, credits=credits, method=method, card=card, phone=phone)
    with connect(brain_url, user=True) as brain:
        made = brain.post(f"{ROOT}/topups", body, key=key or token_hex(16))
        made = _settled(brain, made, wait, json)
    _end(made, json)


def _settled(brain: Brain, made: Any, wait: int, json: bool) -> Any:
    """What became of it, within so many seconds; its page is shown when there is one."""
    found, seen = made, _shown(made, json)
    if not wait or not _waits(made):
        return made
    for _, found in looks(brain, f"{ROOT}/topups/{made['topup_id']}", wait):
        seen = seen or _shown(found, json)
        if not _waits(found):
            break
    return found


def _waits(made: Any) -> bool:
    return made["state"] in MOVING or (made["state"] == "needs_payer" and bool(made["url"]))


def _shown(made: Any, json: bool) -> bool:
    """Show the page to pay at; False: there is none yet."""
    if json or not made["url"] or made["state"] != "needs_payer":
        return False
    console.print("Pay here, then come back; it is noticed by itself:")
    console.print(f"  [bold]{cell(made['url'])}[/]", soft_wrap=True)
    return True


def _end(made: Any, json: bool) -> None:
    """What it came to; a top-up that failed is an error."""
    name, amount = made["topup_id"], dollars(made["amount_usd"])
    if made["state"] == "failed":
        advice = "Pay with another card, or with: ganglion topup AMOUNT --page"
        raise CliError(f"{made['reason']} Nothing was taken.", advice, code="payment_failed")
    if json:
        show_json({key: value for key, value in made.items() if key != "client_secret"})
        return
    if made["state"] == "paid":
        console.print(f"[green]{amount} paid[/] by {cell(made['payer'] or made['method'])}.")
        console.print(f"Its receipt: ganglion topups receipt {name}")
        return
    facts({"top-up": name, "state": state(made["state"]), "why": cell(made["reason"])})
    if made["state"] == "needs_payer" and not made["url"]:
        console.print("The bank wants to see you: pay with ganglion topup AMOUNT --page instead.")
    console.print(f"Look again with: ganglion topups show {name}")


@topups.command("list")
def list_topups(brain_url: BrainUrl = None, json: Json = False, limit: Limit = 50) -> None:
    """The account's top-ups, newest first."""
    with connect(brain_url, user=True) as brain:
        found = listed(brain, f"{ROOT}/topups", limit)
    if json:
        show_json(found)
        return
    table(
        "",
        ["id", "at", "state", ">amount", ">went back", "by", "why"],
        [
            [
                one["topup_id"],
                when(one["created_at"]),
                state(one["state"]),
                dollars(one["amount_usd"]),
                dollars(one["reversed_usd"]),
                cell(one["payer"] or one["method"]) + (" (automatic)" if one["automatic"] else ""),
                cell(one["reason"]) if one["state"] not in {"paid"} else "",
            ]
            for one in found
        ],
        empty="No top-ups yet. Add credit with: ganglion topup 25 --page",
    )


@topups.command("show")
def show_topup(name: TopUp, brain_url: BrainUrl = None, json: Json = False) -> None:
    """One top-up: its state, where its payer may act, what went back."""
    with connect(brain_url, user=True) as brain:
        found = brain.get(f"{ROOT}/topups/{name}")
    found.pop("client_secret", None)  # for web pages alone
    _show(found, json)


def _show(found: Any, json: bool) -> None:
    if json:
        show_json(found)
        return
    facts(
        {
            "state": state(found["state"]),
            "why": cell(found["reason"]),
            "amount": dollars(found["amount_usd"]),
            "by": cell(found["payer"] or found["method"]),
            "pay at": cell(found["url"]),
            "paid": when(found["paid_at"]),
        }
    )
    _reversals(found["reversals"])


def _reversals(found: list[Any]) -> None:
    if found:
        table(
            "\nWhat went back",
            ["kind", "state", ">amount", "at", "reason"],
            [
                [o["kind"], state(o["state"]), dollars(o["amount_usd"]), when(o["at"]), o["reason"]]
                for o in found
            ],
        )


@topups.command("receipt")
def receipt(name: TopUp, brain_url: BrainUrl = None, json: Json = False) -> None:
    """What was paid and credited, for your records."""
    with connect(brain_url, user=True) as brain:
        found = brain.get(f"{ROOT}/topups/{name}/receipt")
    if json:
        show_json(found)
        return
    names = ("topup_id", "account_id", "paid_at", "amount", "credit_usd", "paid_by", "payment")
    facts({name.removesuffix("_id"): cell(found[name]) for name in (*names, "kept_usd")})
    _reversals(found["reversals"])
    console.print(f"[dim]{cell(found['note'])}[/]")


@topups.command("refund")
def refund(
    name: TopUp,
    amount: Annotated[str | None, typer.Option(help="Dollars; else all that is unused.")] = None,
    reason: Annotated[str, typer.Option(help="Why.")] = "asked for by its owner",
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Take back what is unused of a top-up, to the card that paid."""
    body = given(amount_usd=amount, reason=reason)
    with connect(brain_url, user=True) as brain:
        found = brain.post(f"{ROOT}/topups/{name}/refund", body, key=token_hex(16))
    _show(found, json)


@topups.command("cancel")
def cancel(name: TopUp, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Call off a top-up that nobody paid yet."""
    with connect(brain_url, user=True) as brain:
        found = brain.post(f"{ROOT}/topups/{name}/cancel")
    _show(found, json)


@cards.command("list")
def list_cards(brain_url: BrainUrl = None, json: Json = False) -> None:
    """The saved cards. Their numbers are the processor's alone."""
    with connect(brain_url, user=True) as brain:
        found = brain.get(f"{ROOT}/cards")["cards"]
    if json:
        show_json(found)
        return
    table(
        "",
        ["card", "brand", "ends in", "expires", "default"],
        [
            [o["card"], cell(o["brand"]), o["last4"], o["expires"], "yes" if o["default"] else ""]
            for o in found
        ],
        empty="No saved cards. Add one with: ganglion cards add",
    )


@cards.command("add")
def add_card(wait: Wait = 300, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Add a card on the processor's page; its number never comes near this machine."""
    with connect(brain_url, user=True) as brain:
        before = {one["card"] for one in brain.get(f"{ROOT}/cards")["cards"]}
        made = brain.post(f"{ROOT}/cards", {"how": "page"})
        if json:
            show_json({"url": made["url"], "setup": made["setup"]})
            return
        console.print("Add the card here, then come back:")
        console.print(f"  [bold]{cell(made['url'])}[/]", soft_wrap=True)
        for _, found in looks(brain, f"{ROOT}/cards", wait):
            fresh = [one for one in found["cards"] if one["card"] not in before]
            if fresh:
                card = fresh[0]
                console.print(
                    f"[green]{cell(card['brand'])} ending in {card['last4']} is saved.[/]"
                )
                return
    console.print("No card was added yet; ganglion cards list shows it once it is.")


@cards.command("default")
def default_card(card: CardId, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Top-ups and automatic refill take this card from now on."""
    with connect(brain_url, user=True) as brain:
        found = brain.put(f"{ROOT}/cards/{card}/default", None)["cards"]
    show_json(found) if json else console.print(f"{cell(card)} is the default card.")


@cards.command("remove")
def remove_card(card: CardId, brain_url: BrainUrl = None, json: Json = False) -> None:
    """Forget a card. Automatic refill by it turns itself off."""
    with connect(brain_url, user=True) as brain:
        brain.delete(f"{ROOT}/cards/{card}")
    show_json({"card": card, "removed": True}) if json else console.print(
        f"{cell(card)} is forgotten."
    )


@refill.command("show")
def show_refill(brain_url: BrainUrl = None, json: Json = False) -> None:
    """The rule of automatic refill, and why it waits."""
    with connect(brain_url, user=True) as brain:
        _rule(brain.get(f"{ROOT}/auto-refill"), json)


@refill.command("on")
def refill_on(
    threshold: Annotated[str, typer.Option(help="Refill below so many dollars.")] = "10",
    amount: Annotated[str, typer.Option(help="By so many dollars.")] = "25",
    day_max: Annotated[str, typer.Option(help="The most of a day (UTC).")] = "100",
    month_max: Annotated[str, typer.Option(help="The most of a month.")] = "1000",
    card: Annotated[str | None, typer.Option(help="A saved card; else the default one.")] = None,
    brain_url: BrainUrl = None,
    json: Json = False,
) -> None:
    """Top up by itself when credit runs low. After a refusal the next try waits an hour."""
    body = given(
        enabled=True,
        threshold_usd=threshold,
        amount_usd=amount,
        day_max_usd=day_max,
        month_max_usd=month_max,
        card=card,
    )
    with connect(brain_url, user=True) as brain:
        _rule(brain.put(f"{ROOT}/auto-refill", body), json)


@refill.command("off")
def refill_off(brain_url: BrainUrl = None, json: Json = False) -> None:
    """Charge nothing by itself any more."""
    with connect(brain_url, user=True) as brain:
        known = brain.get(f"{ROOT}/auto-refill")
        kept = ("threshold_usd", "amount_usd", "day_max_usd", "month_max_usd")
        body = {name: known[name].lstrip("$").replace(",", "") for name in kept}
        _rule(brain.put(f"{ROOT}/auto-refill", {"enabled": False, **body}), json)


def _rule(found: Any, json: bool) -> None:
    if json:
        show_json(found)
        return
    facts(
        {
            "automatic refill": "[green]on[/]" if found["enabled"] else "off",
            "below": dollars(found["threshold_usd"]),
            "by": dollars(found["amount_usd"]),
            "at most a day": dollars(found["day_max_usd"]),
            "at most a month": dollars(found["month_max_usd"]),
            "card": cell(found["card_label"]),
            "now": cell(found["said"]),
        }
    )
