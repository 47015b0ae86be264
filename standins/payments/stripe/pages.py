"""The pages that a person sees: pay, prove who you are, be onboarded. Plain forms, no scripts."""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs

from standins.clouds.shell import Answer
from standins.payments.stripe import attempts, checkout, connect, setup
from standins.payments.stripe.book import Desk, Thing
from standins.payments.stripe.call import Call
from standins.payments.stripe.cards import READY
from standins.payments.stripe.forms import Params
from standins.payments.stripe.refusals import Refused

PLACE = "{CHECKOUT_SESSION_ID}"
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px sans-serif;max-width:32em;margin:3em auto}}button,select{{font:inherit;
padding:.5em 1em;margin:.3em 0}}.said{{color:#a00}}</style></head><body>
<p><small>Stand-in for Stripe. No money moves.</small></p><h1>{title}</h1>{content}</body></html>"""


def show(desk: Desk, method: str, place: str, body: bytes) -> Answer:
    """``pay/ID``, ``authenticate/ID`` or ``onboard/ID``; a POST is the form being sent."""
    verb, _, wanted = place.partition("/")
    form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    try:
        if verb == "pay":
            return _pay(desk, desk.find("checkout.session", wanted), method, form)
        if verb == "authenticate":
            return _authenticate(desk, wanted, method, form)
        if verb == "onboard":
            return _onboard(desk, desk.find("account", wanted), method, form)
    except Refused as refused:
        return _page("Not found", f"<p>{escape(refused.message)}</p>", 404)
    return _page("Not found", "<p>There is no such page.</p>", 404)


def _pay(desk: Desk, session: Thing, method: str, form: dict[str, str]) -> Answer:
    said = ""
    if method == "POST" and session["status"] == "open":
        try:
            checkout.pay(Call(desk, Params({})), session, form.get("card", "pm_card_visa"))
        except Refused as refused:
            said = f'<p class="said">{escape(refused.message)}</p>'
        intent = desk.table("payment_intent").get(session["payment_intent"] or "")
        if intent is not None and intent["status"] == "requires_action":
            return _go(intent["next_action"]["redirect_to_url"]["url"])
    if session["status"] == "complete":
        return _go(success_url(session))
    if session["status"] == "expired":
        return _page("Expired", "<p>This page is no longer valid.</p>")
    amount = session["amount_total"]
    what = f"Pay {amount} {session['currency']} (smallest unit)" if amount else "Save a card"
    cards = "".join(f"<option>{name}</option>" for name in READY)
    form_text = (
        f'<form method="post"><select name="card">{cards}</select> <button>OK</button></form>'
    )
    back = escape(session["cancel_url"] or "")
    return _page(what, said + form_text + (f'<p><a href="{back}">Back</a></p>' if back else ""))


def success_url(session: Thing) -> str:
    return str(session["success_url"]).replace(PLACE, session["id"])


def _authenticate(desk: Desk, wanted: str, method: str, form: dict[str, str]) -> Answer:
    kind = "setup_intent" if wanted.startswith("seti_") else "payment_intent"
    intent = desk.find(kind, wanted)
    if method == "POST" and intent["status"] == "requires_action":
        back = (intent["next_action"].get("redirect_to_url") or {}).get("return_url")
        answer_bank(desk, intent, passed=form.get("pass") == "yes")
        if back:
            return _go(_returned(desk, intent, back))
    if intent["status"] != "requires_action":
        return _page("Done", f"<p>The intent is {escape(intent['status'])}.</p>")
    buttons = (
        '<form method="post"><button name="pass" value="yes">Complete</button> '
        '<button name="pass" value="no">Fail</button></form>'
    )
    return _page("Your bank asks: is it you?", buttons)


def answer_bank(desk: Desk, intent: Thing, *, passed: bool) -> None:
    """What the card's owner did at the bank's page, and what follows."""
    if intent["object"] == "setup_intent":
        setup.authenticated(desk, intent, passed=passed)
        return
    attempts.authenticated(desk, intent, passed=passed)
    checkout.settle(desk, intent)


def _returned(desk: Desk, intent: Thing, back: str) -> str:
    for session in desk.table("checkout.session").values():
        if session["payment_intent"] == intent["id"]:
            return success_url(session) if session["status"] == "complete" else session["url"]
    mark = "&" if "?" in back else "?"
    kind = intent["object"]
    return f"{back}{mark}{kind}={intent['id']}&redirect_status={intent['status']}"


def _onboard(desk: Desk, account: Thing, method: str, form: dict[str, str]) -> Answer:
    if method == "POST":
        connect.onboard(desk, account, bank=form.get("bank", "000123456789"))
        return _page("Thank you", "<p>Everything that was asked is told.</p>")
    field = '<input name="bank" value="000123456789">'
    text = f'<form method="post">{field} <button>Tell all</button></form>'
    return _page("Set up payouts", text)


def _page(title: str, content: str, status: int = 200) -> Answer:
    page = PAGE.format(title=escape(title), content=content)
    return Answer(status, page.encode(), "text/html; charset=utf-8")


def _go(url: str) -> Answer:
    return Answer(303, b"", "text/html; charset=utf-8", (("location", url),))
