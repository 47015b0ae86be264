"""The stand-in's own routes: clock, cards, disputes, webhooks, faults, and pages for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from standins.clouds.shell import Answer, Request, as_json
from standins.payments.stripe import checkout, connect, pages, payouts
from standins.payments.stripe.call import Call
from standins.payments.stripe.disputes import REASONS, decide, open_dispute
from standins.payments.stripe.faults import read_faults
from standins.payments.stripe.forms import Params
from standins.payments.stripe.hooks import Forgery, Manners, make_endpoint
from standins.payments.stripe.methods import change_card
from standins.payments.stripe.refusals import Refused
from standins.payments.stripe.shell import OWN, Shell

PAIRS = ("copies", "delay_seconds")
SENT_SHOWN = 200


def own(shell: Shell, request: Request) -> Answer:
    """They bear no key: the stand-in is for a desk."""
    place = request.path.removeprefix(OWN) if request.path.startswith(OWN) else ""
    verb, _, rest = place.partition("/")
    if verb == "pages":
        return pages.show(shell.book.platform, request.method, rest, request.body)
    route = ROUTES.get((request.method, verb))
    if route is None:
        return as_json({"detail": "no such route of the stand-in"}, 404)
    try:
        return as_json(route(shell, rest, _body(request)))
    except Refused as refused:
        return as_json({"detail": refused.message}, 409)
    except (AttributeError, KeyError, TypeError, ValueError) as wrong:
        return as_json({"detail": repr(wrong)[:300]}, 400)


def _body(request: Request) -> Any:
    body = json.loads(request.body) if request.body else {}
    if not isinstance(body, dict | list):
        raise ValueError("the body is a JSON object")
    return body


def state(shell: Shell, rest: str, body: Any) -> object:
    book = shell.book
    return {
        "stand_in": "stripe",
        "now": book.now,
        "calls": shell.calls,
        "faults": shell.faults.left(),
        "objects": {kind: len(rows) for kind, rows in sorted(book.platform.tables.items())},
        "manners": asdict(shell.hooks.manners),
        "waiting": len(shell.hooks.waiting),
        "sent": [asdict(one) for one in shell.hooks.sent[-SENT_SHOWN:]],
    }


def clock(shell: Shell, rest: str, body: Any) -> object:
    """``{"advance_seconds": N}`` or ``{"now": epoch}``, never back."""
    seconds = float(body.get("advance_seconds", 0))
    if "now" in body:
        seconds = float(body["now"]) - shell.book.now
    shell.book.move_clock(seconds)
    return {"now": shell.book.now}


def cards(shell: Shell, rest: str, body: Any) -> object:
    """The bank of one payment method behaves otherwise from now on."""
    change_card(shell.book.platform, rest, body)
    return {"payment_method": rest, **body}


def authenticate(shell: Shell, rest: str, body: Any) -> object:
    """What the card's owner does at the bank's page: ``{"pass": true}``."""
    desk = shell.book.platform
    kind = "setup_intent" if rest.startswith("seti_") else "payment_intent"
    intent = desk.find(kind, rest)
    pages.answer_bank(desk, intent, passed=bool(body.get("pass", True)))
    return intent


def pay(shell: Shell, rest: str, body: Any) -> object:
    """What a person does on a Checkout page: ``{"payment_method": "pm_card_visa"}``."""
    desk = shell.book.platform
    session = desk.find("checkout.session", rest)
    card = str(body.get("payment_method", "pm_card_visa"))
    checkout.pay(Call(desk, Params({})), session, card, email=body.get("email"))
    return session


def accounts(shell: Shell, rest: str, body: Any) -> object:
    """``{"onboard": true, "bank": "…"}``, or ``{"disabled_reason": "…", "due": […]}``."""
    desk = shell.book.platform
    account = desk.find("account", rest)
    if body.get("onboard"):
        connect.onboard(desk, account, bank=str(body.get("bank", "000123456789")))
    else:
        due = [str(one) for one in body.get("due", [])]
        connect.restrict(desk, account, str(body["disabled_reason"]), due)
    return account


def fail_payout(shell: Shell, rest: str, body: Any) -> object:
    """The bank sends a payout back: ``payouts/ACCOUNT/ID`` with ``{"code": "no_account"}``."""
    account, _, wanted = rest.rpartition("/")
    desk = shell.book.desk(account)
    payout = desk.find("payout", wanted)
    payouts.fail(desk, payout, str(body.get("code", "no_account")))
    return payout


def disputes(shell: Shell, rest: str, body: Any) -> object:
    """``POST disputes`` opens one on a ``charge`` or ``payment_intent``; ``disputes/ID`` with an
    ``outcome`` decides it."""
    desk = shell.book.platform
    if rest:
        dispute = desk.find("dispute", rest)
        if body.get("outcome") not in ("won", "lost", "warning_closed"):
            raise ValueError("outcome is won, lost or warning_closed")
        decide(desk, dispute, body["outcome"])
        return dispute
    wanted = body.get("charge")
    if not wanted:
        wanted = desk.find("payment_intent", str(body.get("payment_intent")))["latest_charge"]
    charge = desk.find("charge", str(wanted))
    reason = str(body.get("reason", REASONS[0]))
    amount = body.get("amount")
    inquiry = bool(body.get("inquiry"))
    if charge["disputed"] or not charge["captured"]:
        raise ValueError("the charge is disputed already, or was not captured")
    return open_dispute(desk, charge, reason, amount=amount, inquiry=inquiry)


def faults(shell: Shell, rest: str, body: Any) -> object:
    shell.faults.add(read_faults(body))
    return {"faults": shell.faults.left()}


def no_faults(shell: Shell, rest: str, body: Any) -> object:
    shell.faults.clear()
    return {"faults": []}


def manners(shell: Shell, rest: str, body: Any) -> object:
    """How webhooks are delivered from now on; what is not named is as at the start."""
    given: dict[str, Any] = {
        name: tuple(value) if name in PAIRS else value for name, value in body.items()
    }
    shell.hooks.manners = replace(Manners(), **given)
    return asdict(shell.hooks.manners)


def webhooks(shell: Shell, rest: str, body: Any) -> object:
    """``webhooks/resend``, ``webhooks/forge``, ``webhooks/flush``, ``webhooks/endpoint``."""
    hooks = shell.hooks
    if rest == "resend":
        return {"queued": hooks.again(str(body["event"]), int(body.get("copies", 1)))}
    if rest == "forge":
        how = Forgery(body.get("how", Forgery.SIGNATURE))
        return {"queued": hooks.again(str(body["event"]), int(body.get("copies", 1)), how)}
    if rest == "flush":
        return {"due": hooks.let_go(shuffle=bool(body.get("shuffle")))}
    if rest == "endpoint":
        events = list(body.get("enabled_events", ["*"]))
        connect = bool(body.get("connect"))
        secret = str(body.get("secret", ""))
        return make_endpoint(shell.book, str(body["url"]), events, connect=connect, secret=secret)
    raise ValueError("webhooks/resend, forge, flush or endpoint")


Own = Callable[[Shell, str, Any], object]
ROUTES: dict[tuple[str, str], Own] = {
    ("GET", "state"): state,
    ("POST", "clock"): clock,
    ("POST", "cards"): cards,
    ("POST", "authenticate"): authenticate,
    ("POST", "pay"): pay,
    ("POST", "accounts"): accounts,
    ("POST", "payouts"): fail_payout,
    ("POST", "disputes"): disputes,
    ("POST", "faults"): faults,
    ("DELETE", "faults"): no_faults,
    ("PUT", "manners"): manners,
    ("POST", "webhooks"): webhooks,
}
