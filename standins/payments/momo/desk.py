"""MoMo's routes, keys, tokens and rules over what was asked for so far."""

from __future__ import annotations

import base64
import binascii
import json
import random
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from kernel.clock import NS, Clock
from standins.clouds.shell import Answer, Reply, Request, as_json
from standins.payments.front import Faults, Message
from standins.payments.momo.numbers import Fate, fate

TOKEN_SECONDS = 3600
NOTE_MAX = 160
CURRENCY = "EUR"  # the sandbox knows no other
LOCAL = ("127.0.0.1", "localhost", "::1")
PRODUCTS = ("collection", "disbursement")
# What a product is asked for, and who the other party of it is: a refund names a payment instead.
KINDS = {
    "collection": {"requesttopay": "payer"},
    "disbursement": {"transfer": "payee", "refund": ""},
}
_AMOUNT = re.compile(r"\d{1,12}(\.\d{1,2})?\Z")
_NOTE = re.compile(r"[\w .,:;()/-]*\Z")


class Refusal(Exception):
    """The answer in place of the work."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def refused(status: int, code: str, message: str = "") -> Refusal:
    return Refusal(as_json({"code": code, "message": message or code}, status))


@dataclass
class Asked:
    """One request to pay, transfer or refund. ``told``: its callback was given out."""

    product: str
    kind: str
    body: dict[str, Any]
    fate: Fate
    at_ns: int
    callback: str | None
    transaction: str
    told: bool = False

    def status(self, now_ns: int) -> str:
        after = self.fate.after_seconds
        over = after is not None and now_ns - self.at_ns >= after * NS
        return self.fate.status if over else self.fate.before

    def over(self, now_ns: int) -> bool:
        return self.status(now_ns) not in ("PENDING", "CREATED")


@dataclass
class MomoDesk:
    """The sandbox of one partner. ``keys`` are the products' subscription keys; ``users`` the API
    users with their keys and callback hosts."""

    clock: Clock
    chance: random.Random
    keys: dict[str, str]
    users: dict[str, str]
    observed: bool = False
    funds: int = 100_000_000
    environment: str = "sandbox"
    hosts: dict[str, str] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    calls: dict[str, int] = field(default_factory=dict)
    _tokens: dict[str, tuple[str, int]] = field(default_factory=dict)

    def respond(self, request: Request) -> Reply:
        """Do what is asked, at once, and say what the client shall see of it."""
        if request.path == "/stand-in/state":
            return Reply(as_json(self._state()))
        if request.path == "/stand-in/faults" and request.method == "POST":
            return Reply(self.faults.read(request.body))
        call = self._name(request)
        self.calls[call] = self.calls.get(call, 0) + 1
        return self.faults.met(call, lambda: self._answer(request))

    def outgoing(self) -> list[Message]:
        """One callback for each request that is over, and never a second."""
        found = []
        for reference, one in self.asked.items():
            if one.callback is None or one.told or not one.over(self.clock.now_ns()):
                continue
            one.told = True
            body = json.dumps(self._shown(reference, one) | {"referenceId": reference}).encode()
            headers = {"content-type": "application/json"}
            found.append(Message("PUT", one.callback, headers, body))
        return found

    def paid(self, product: str, kind: str = "") -> list[Asked]:
        """What went through, for tests: each is money that moved."""
        now = self.clock.now_ns()
        of = [o for o in self.asked.values() if o.product == product and kind in ("", o.kind)]
        return [one for one in of if one.status(now) == "SUCCESSFUL"]

    def _name(self, request: Request) -> str:
        parts = request.path.strip("/").split("/")
        if parts[-1] == "token":
            return "token"
        kinds = [kind for of in KINDS.values() for kind in of]
        asked = next((kind for kind in kinds if kind in parts), parts[-1])
        return asked if request.method == "POST" else f"look_{asked}"

    def _answer(self, request: Request) -> Answer:
        if "//" in request.path:
            return Answer(400, b"<html>Request Rejected</html>", "text/html")
        try:
            return self._route(request)
        except Refusal as refusal:
            return refusal.answer

    def _route(self, request: Request) -> Answer:
        path = request.path.rstrip("/")
        if path.startswith("/v1_0/apiuser"):
            return self._provision(request, path)
        product, _, rest = path.strip("/").partition("/")
        if product not in PRODUCTS:
            raise refused(404, "RESOURCE_NOT_FOUND")
        self._subscribed(request, product)
        if (request.method, rest) == ("POST", "token"):
            return self._token(request, product)
        self._allowed(request, product)
        rest = rest.removeprefix("v1_0/")
        kind, _, reference = rest.partition("/")
        if kind in KINDS[product] and (request.method, reference) == ("POST", ""):
            return self._ask(request, product, kind)
        if kind in KINDS[product] and request.method == "GET" and "/" not in reference:
            return self._look(kind, reference)
        return self._other(request, product, rest)

    def _other(self, request: Request, product: str, rest: str) -> Answer:
        if request.method == "GET" and re.match(r"account/balance(/\w+)?\Z", rest):
            funds = self._balance(product)
            return as_json({"availableBalance": str(funds), "currency": CURRENCY})
        if found := re.match(r"accountholder/msisdn/(\d+)/(active|basicuserinfo)\Z", rest):
            if found[2] == "active":
                known = fate(product, found[1], observed=False).reason not in (
                    "PAYER_NOT_FOUND",
                    "PAYEE_NOT_FOUND",
                )
                return as_json({"result": known})
            return as_json({"given_name": "Sand", "family_name": "Box", "status": "ACTIVE"})
        if found := re.match(r"requesttopay/([^/]+)/deliverynotification\Z", rest):
            if found[1] not in self.asked:
                raise refused(404, "RESOURCE_NOT_FOUND", "Requested resource was not found.")
            return Answer(200, b"")
        raise refused(404, "RESOURCE_NOT_FOUND", "Requested resource was not found.")

    def _provision(self, request: Request, path: str) -> Answer:
        """Of the sandbox alone: a user, and a key that replaces the one before."""
        if request.headers.get("ocp-apim-subscription-key", "") not in self.keys.values():
            raise Refusal(_denied())
        parts = path.removeprefix("/v1_0/apiuser").strip("/").split("/")
        if request.method == "POST" and parts == [""]:
            user = self._reference(request)
            if user in self.users:
                raise refused(409, "RESOURCE_ALREADY_EXIST", "Duplicated reference id.")
            self.users[user] = ""
            self.hosts[user] = str((_object(request)).get("providerCallbackHost", ""))
            return Answer(201, b"")
        if parts[0] not in self.users:
            raise refused(404, "RESOURCE_NOT_FOUND", "Requested resource was not found.")
        if request.method == "POST" and parts[1:] == ["apikey"]:
            self.users[parts[0]] = f"{self.chance.getrandbits(128):032x}"
            return as_json({"apiKey": self.users[parts[0]]}, 201)
        shown = {"providerCallbackHost": self.hosts.get(parts[0], "")}
        return as_json(shown | {"targetEnvironment": self.environment})

    def _subscribed(self, request: Request, product: str) -> None:
        if request.headers.get("ocp-apim-subscription-key") != self.keys.get(product):
            raise Refusal(_denied())

    def _token(self, request: Request, product: str) -> Answer:
        kind, _, packed = request.headers.get("authorization", "").partition(" ")
        try:
            user, _, key = base64.b64decode(packed, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user, key = "", ""
        if kind.lower() != "basic" or not user or self.users.get(user) != key:
            raise Refusal(as_json({"error": "login_failed"}, 401))
        token = f"eyJ{self.chance.getrandbits(160):040x}"
        self._tokens[token] = (f"{product} {user}", self.clock.now_ns() + TOKEN_SECONDS * NS)
        made = {"access_token": token, "token_type": "access_token", "expires_in": TOKEN_SECONDS}
        return as_json(made)

    def _allowed(self, request: Request, product: str) -> str:
        """The user of a token that is good for this product, now."""
        owner, until = self._tokens.get(request.bearer(), ("", 0))
        if owner.split(" ")[0] != product or until <= self.clock.now_ns():
            raise Refusal(as_json({"statusCode": 401, "message": "Unauthorized"}, 401))
        if request.headers.get("x-target-environment") != self.environment:
            raise refused(500, "NOT_ALLOWED_TARGET_ENVIRONMENT")
        return owner.split(" ")[1]

    def _reference(self, request: Request) -> str:
        given = request.headers.get("x-reference-id", "")
        try:
            found = UUID(given)
        except ValueError:
            found = UUID(int=0)
        if found.version != 4 or str(found) != given.lower():
            raise refused(400, "BAD_REQUEST", "X-Reference-Id must be a UUID of version 4.")
        return str(found)

    def _ask(self, request: Request, product: str, kind: str) -> Answer:
        owner = self._allowed(request, product)
        reference = self._reference(request)
        callback = self._callback(request, owner)
        body = _object(request)
        original = self._refundable(body) if kind == "refund" else None
        party = "payer" if original is not None else KINDS[product][kind]
        who = (body if original is None else original.body).get(party)
        number = str(who.get("partyId", "")) if isinstance(who, dict) else ""
        self._check(body, number)
        if reference in self.asked:
            said = "Duplicated reference id. Creation of resource failed."
            raise refused(409, "RESOURCE_ALREADY_EXIST", said)
        found = fate(product, number, observed=self.observed)
        if original is not None and Decimal(body["amount"]) > self._left(original):
            found = Fate("FAILED", "NOT_ALLOWED")
        if product == "disbursement" and Decimal(body["amount"]) > self._balance(product):
            found = Fate("FAILED", "NOT_ENOUGH_FUNDS")
        transaction = str(self.chance.randrange(10**9, 10**10))
        now = self.clock.now_ns()
        self.asked[reference] = Asked(product, kind, body, found, now, callback, transaction)
        return Answer(202, b"")

    def _refundable(self, body: dict[str, Any]) -> Asked:
        """The payment that a refund names, if its money came."""
        original = self.asked.get(str(body.get("referenceIdToRefund", "")).lower())
        if original is None or original not in self.paid("collection"):
            raise refused(404, "RESOURCE_NOT_FOUND", "There is no such payment to refund.")
        return original

    def _left(self, original: Asked) -> Decimal:
        """What of a payment did not go back yet, and is not on its way."""
        now = self.clock.now_ns()
        gone = [
            Decimal(one.body["amount"])
            for one in self.asked.values()
            if one.kind == "refund"
            and self.asked[str(one.body["referenceIdToRefund"]).lower()] is original
            and not (one.over(now) and one.status(now) != "SUCCESSFUL")
        ]
        return Decimal(original.body["amount"]) - sum(gone, Decimal(0))

    def _check(self, body: dict[str, Any], number: str) -> None:
        amount = body.get("amount")
        if not isinstance(amount, str) or not _AMOUNT.match(amount) or Decimal(amount) <= 0:
            raise refused(400, "BAD_REQUEST", "amount must be a positive number as text.")
        if not re.match(r"\d{8,15}\Z", number):
            raise refused(400, "BAD_REQUEST", "partyId must be a number with its country code.")
        for name in ("payerMessage", "payeeNote"):
            note = body.get(name, "")
            if not isinstance(note, str) or len(note) > NOTE_MAX or not _NOTE.match(note):
                raise refused(400, "BAD_REQUEST", f"{name} is too long or has special characters.")
        if body.get("currency") != CURRENCY:
            raise refused(500, "INVALID_CURRENCY", "Currency not supported.")

    def _callback(self, request: Request, owner: str) -> str | None:
        url = request.headers.get("x-callback-url")
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in LOCAL:
            raise refused(400, "BAD_REQUEST", "The callback URL must be https.")
        host = self.hosts.get(owner)
        if host is not None and parts.hostname != host:
            raise refused(500, "INVALID_CALLBACK_URL_HOST")
        return url

    def _look(self, kind: str, reference: str) -> Answer:
        one = self.asked.get(reference.lower())
        if one is None or one.kind != kind:
            raise refused(404, "RESOURCE_NOT_FOUND", "Requested resource was not found.")
        return as_json(self._shown(reference.lower(), one))

    def _shown(self, reference: str, one: Asked) -> dict[str, Any]:
        status = one.status(self.clock.now_ns())
        party = KINDS[one.product][one.kind]
        shown = {name: one.body.get(name, "") for name in _SHOWN}
        if party:
            shown[party] = one.body[party]
        shown["status"] = status
        if status == "SUCCESSFUL":
            shown["financialTransactionId"] = one.transaction
        if one.over(self.clock.now_ns()) and one.fate.reason:
            code = one.fate.reason
            # The two products tell it in two shapes.
            told = {"code": code, "message": code.replace("_", " ").capitalize()}
            shown["reason"] = told if one.product == "collection" else code
        return shown

    def _balance(self, product: str) -> Decimal:
        moved = sum((Decimal(one.body["amount"]) for one in self.paid(product)), Decimal(0))
        return moved if product == "collection" else self.funds - moved

    def _state(self) -> dict[str, Any]:
        shown = {ref: self._shown(ref, one) for ref, one in self.asked.items()}
        balances = {product: str(self._balance(product)) for product in PRODUCTS}
        return {"stand_in": "momo", "calls": self.calls, "asked": shown, "balances": balances}


_SHOWN = ("amount", "currency", "externalId", "payerMessage", "payeeNote")


def _denied() -> Answer:
    said = "Access denied due to invalid subscription key. Make sure to provide a valid key."
    return as_json({"statusCode": 401, "message": said}, 401)


def _object(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(request.body or b"{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise refused(400, "BAD_REQUEST", "The body is not an object of JSON.")
    return found
