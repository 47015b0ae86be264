"""Checkouts: tokens checked for method and path, idempotency, states by the clock, webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kernel.clock import NS, Clock
from standins.clouds.shell import Answer, Reply, Request, as_json
from standins.payments.front import Faults, Message

ROOT = "/api/v1"
LASTS_SECONDS = 3600
FEE = Decimal("0.01")
TOKEN_SECONDS_MAX = 120
NAMES = ("content-type", "x-event-id", "x-event-type")
EVENTS = {
    "COMPLETED": "checkout.payment.success",
    "FAILED": "checkout.payment.failed",
    "EXPIRED": "checkout.payment.expired",
}
PAID = ("COMPLETED", "PARTIALLY_REFUNDED")
_AMOUNT = re.compile(r"\d{1,9}(\.\d{1,2})?\Z")


@dataclass
class CoinbaseDesk:
    """One business account. ``hook``: address and secret of its one subscription."""

    clock: Clock
    chance: random.Random
    key_id: str
    public_key: EllipticCurvePublicKey | Ed25519PublicKey
    hook: tuple[str, str] | None = None
    page: str = "https://payments.example.com"
    checkouts: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    calls: dict[str, int] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)
    _nonces: set[str] = field(default_factory=set)
    _outgoing: list[Message] = field(default_factory=list)

    def respond(self, request: Request) -> Reply:
        """Do what is asked, at once, and say what the client shall see of it."""
        path = request.path
        if path.startswith("/stand-in/"):
            return Reply(self._own(request, path.removeprefix("/stand-in/")))
        asked = "refund" if path.endswith("/refund") else "look"
        call = "create" if (request.method, path) == ("POST", f"{ROOT}/checkouts") else asked
        self.calls[call] = self.calls.get(call, 0) + 1
        return self.faults.met(call, lambda: self._answer(request))

    def outgoing(self) -> list[Message]:
        self._expire()
        found, self._outgoing = self._outgoing, []
        return found

    def settle(self, id: str, status: str) -> None:
        """What the payer or the chain does."""
        one = self.checkouts[id]
        one["status"] = status
        one["updatedAt"] = self._now()
        if status == "COMPLETED":
            amount = Decimal(one["amount"])
            fee = (amount * FEE).quantize(Decimal("0.01"))
            one["settlement"] = {
                "totalAmount": str(amount),
                "feeAmount": str(fee),
                "netAmount": str(amount - fee),
                "currency": "USDC",
            }
            one["transactionHash"] = f"0x{self.chance.getrandbits(256):064x}"
        self._tell(one, EVENTS.get(status, ""))

    def settle_refund(self, refund_id: str, status: str) -> None:
        """What becomes of a refund on the chain: COMPLETED or FAILED."""
        one, refund = next(
            (one, refund)
            for one in self.checkouts.values()
            for refund in one.get("refunds", [])
            if refund["id"] == refund_id
        )
        refund["status"] = status
        one["updatedAt"] = self._now()
        back = sum((Decimal(r["amount"]) for r in _standing(one, "COMPLETED")), Decimal(0))
        one["refundedAmount"] = str(back)
        if back:
            whole = back == Decimal(one["amount"])
            one["status"] = "REFUNDED" if whole else "PARTIALLY_REFUNDED"
        kind = "success" if status == "COMPLETED" else "failed"
        self._tell(one, f"checkout.refund.{kind}")

    def _tell(self, one: dict[str, Any], kind: str) -> None:
        if self.hook is not None and kind:
            self._outgoing.append(self._event(one, kind))

    def _event(self, one: dict[str, Any], kind: str) -> Message:
        assert self.hook is not None, "only what is subscribed to is sent"
        body = json.dumps(one | {"eventType": kind}).encode()
        headers = {
            "content-type": "application/json",
            "x-event-id": f"{self.chance.getrandbits(128):032x}",
            "x-event-type": kind,
        }
        at, names = self.clock.now_ns() // NS, " ".join(NAMES)
        values = ".".join(headers[name] for name in NAMES)
        text = f"{at}.{names}.{values}.".encode() + body
        signed = hmac.new(self.hook[1].encode(), text, hashlib.sha256).hexdigest()
        headers["x-hook0-signature"] = f"t={at},h={names},v1={signed}"
        return Message("POST", self.hook[0], headers, body)

    def _answer(self, request: Request) -> Answer:
        self._expire()
        if wrong := self._stranger(request):
            return _wrong(401, "unauthorized", wrong)
        path = request.path.removeprefix(ROOT)
        if (request.method, path) == ("POST", "/checkouts"):
            return self._create(request)
        if (request.method, path) == ("GET", "/checkouts"):
            wanted = request.one("status")
            rows = [c for c in self.checkouts.values() if wanted in ("", c["status"])]
            return as_json({"checkouts": rows, "nextPageToken": ""})
        found = re.match(r"/checkouts/([0-9a-f]{24})(/deactivate|/refund)?\Z", path)
        one = self.checkouts.get(found[1]) if found else None
        if one is None or found is None:
            return _wrong(404, "not_found", "Checkout not found.")
        if found[2] == "/refund" and request.method == "POST":
            return self._refund(request, one)
        if found[2] and request.method == "POST":
            if one["status"] != "ACTIVE":
                return _wrong(400, "invalid_request", "Only an active checkout is deactivated.")
            self.settle(found[1], "DEACTIVATED")
        return as_json(one)

    def _stranger(self, request: Request) -> str:
        """Why this token is not good for this call; "" where it is."""
        try:
            head = jwt.get_unverified_header(request.bearer())
            claims = jwt.decode(
                request.bearer(),
                self.public_key,
                algorithms=["EdDSA", "ES256"],
                issuer="cdp",
                options={"verify_exp": False, "verify_nbf": False, "require": ["exp", "nbf"]},
            )
        except jwt.PyJWTError as wrong:
            return type(wrong).__name__
        now = self.clock.now_ns() // NS
        if not claims["nbf"] <= now < claims["exp"] <= now + TOKEN_SECONDS_MAX:
            return "the token is of another time"
        asked = f"{request.method} {request.headers.get('host', '')}{request.path}"
        if claims.get("uri") != asked or claims.get("sub") != self.key_id:
            return "the token is for another call"
        nonce = head.get("nonce")
        if head.get("kid") != self.key_id or not nonce or nonce in self._nonces:
            return "kid or nonce"
        self._nonces.add(nonce)
        return ""

    def _create(self, request: Request) -> Answer:
        once = request.headers.get("x-idempotency-key", "")
        if once in self._keys:
            return as_json(self.checkouts[self._keys[once]], 201)
        body = _object(request)
        amount, currency = body.get("amount"), body.get("currency")
        if not isinstance(amount, str) or not _AMOUNT.match(amount) or not Decimal(amount) > 0:
            return _wrong(400, "invalid_request", "amount is text with at most two decimals.")
        if currency != "USDC" or body.get("network", "base") != "base":
            return _wrong(400, "invalid_request", "This stand-in takes USDC on base.")
        id = f"{self.chance.getrandbits(96):024x}"
        until = self.clock.now_ns() // NS + LASTS_SECONDS
        kept = {k: v for k, v in body.items() if k in _KEPT}
        self.checkouts[id] = kept | {
            "id": id,
            "url": f"{self.page}/payment-links/{id}",
            "network": "base",
            "address": f"0x{self.chance.getrandbits(160):040x}",
            "tokenAddress": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
            "status": "ACTIVE",
            "expiresAt": datetime.fromtimestamp(until, UTC).isoformat(),
            "createdAt": self._now(),
            "updatedAt": self._now(),
        }
        if once:
            self._keys[once] = id
        return as_json(self.checkouts[id], 201)

    def _refund(self, request: Request, one: dict[str, Any]) -> Answer:
        once = request.headers.get("x-idempotency-key", "")
        known = [r for r in one.get("refunds", []) if once and self._keys.get(once) == r["id"]]
        if known:
            return as_json({"checkout": one, "refund": known[0]}, 201)
        body = _object(request)
        amount = body.get("amount")
        if not isinstance(amount, str) or not _AMOUNT.match(amount) or not Decimal(amount) > 0:
            return _wrong(400, "invalid_request", "amount is text with at most two decimals.")
        if body.get("currency", "USDC") != "USDC" or len(str(body.get("reason", ""))) > 500:
            return _wrong(400, "invalid_request", "USDC, and a reason of at most 500 characters.")
        gone = sum(
            (Decimal(r["amount"]) for r in _standing(one, "PENDING", "COMPLETED")), Decimal()
        )
        if one["status"] not in PAID or Decimal(amount) > Decimal(one["amount"]) - gone:
            return _wrong(400, "invalid_request", "So much cannot be refunded.")
        refund = {
            "id": f"{self.chance.getrandbits(96):024x}",
            "checkoutId": one["id"],
            "amount": amount,
            "currency": "USDC",
            "status": "PENDING",
            "reason": str(body.get("reason", "")),
            "createdAt": self._now(),
        }
        one.setdefault("refunds", []).append(refund)
        if once:
            self._keys[once] = str(refund["id"])
        return as_json({"checkout": one, "refund": refund}, 201)

    def _expire(self) -> None:
        now = datetime.fromtimestamp(self.clock.now_ns() // NS, UTC)
        for id, one in self.checkouts.items():
            if one["status"] == "ACTIVE" and datetime.fromisoformat(one["expiresAt"]) <= now:
                self.settle(id, "EXPIRED")

    def _own(self, request: Request, place: str) -> Answer:
        """``state``, ``faults``, ``checkouts/ID/STATUS``, ``refunds/ID/STATUS``: what no real API
        has."""
        if place == "state":
            return as_json({"stand_in": "coinbase", "checkouts": list(self.checkouts.values())})
        if place == "faults" and request.method == "POST":
            return self.faults.read(request.body)
        found = re.match(r"refunds/(\w+)/(COMPLETED|FAILED)\Z", place)
        refunds = {r["id"] for one in self.checkouts.values() for r in one.get("refunds", [])}
        if request.method == "POST" and found and found[1] in refunds:
            self.settle_refund(found[1], found[2])
            return as_json({"refund": found[1], "status": found[2]})
        found = re.match(r"checkouts/(\w+)/([A-Z_]+)\Z", place)
        if request.method == "POST" and found and found[1] in self.checkouts:
            self.settle(found[1], found[2])
            return as_json(self.checkouts[found[1]])
        return as_json({"detail": "no such route of the stand-in"}, 404)

    def _now(self) -> str:
        return datetime.fromtimestamp(self.clock.now_ns() // NS, UTC).isoformat()


_KEPT = (
    "amount",
    "currency",
    "description",
    "metadata",
    "successRedirectUrl",
    "failRedirectUrl",
)


def _standing(one: dict[str, Any], *statuses: str) -> list[dict[str, Any]]:
    return [refund for refund in one.get("refunds", []) if refund["status"] in statuses]


def _object(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(request.body or b"{}")
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _wrong(status: int, kind: str, message: str) -> Answer:
    return as_json({"errorType": kind, "errorMessage": message}, status)
