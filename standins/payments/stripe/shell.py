"""Between the API and the wire: keys, routes, idempotency, rate limit, faults, headers.

:meth:`Shell.respond` turns a request into a reply at once; the front (ASGI or sockets) waits,
cuts, posts the webhooks, and then tells the shell that the reply is out.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from kernel.clock import NS
from standins.clouds.shell import SERVER, Answer, Headers, Request
from standins.payments.stripe.book import API_VERSION, Book, Thing, expanded
from standins.payments.stripe.call import Call
from standins.payments.stripe.faults import Fault, FaultKind, FaultPlan, When
from standins.payments.stripe.forms import Params, parse
from standins.payments.stripe.hooks import Hooks
from standins.payments.stripe.idempotency import Kept, Keys, fingerprint
from standins.payments.stripe.refusals import Refused, lock_timeout, throttled
from standins.payments.stripe.routes import FOR_CLIENTS, find

OWN = "/_stand-in/"
HTML = b"<!DOCTYPE html><html><body><h1>503</h1>A page for people.</body></html>"


@dataclass(slots=True)
class Reply:
    """``answer`` None: the connection ends without a byte. ``out``: to call when all is out."""

    answer: Answer | None
    wait_seconds: float = 0.0
    hooks_first: bool = False
    out: Callable[[], None] = field(default=lambda: None)


class Shell:
    """The emulated Stripe without its front. ``key`` is its one secret key; the publishable key
    is the same with ``pk_`` for ``sk_``."""

    def __init__(self, book: Book, key: str, own: Callable[[Shell, Request], Answer]) -> None:
        self.book = book
        self.key = key
        self.faults = FaultPlan()
        self.hooks = Hooks(book)
        self.calls: dict[str, int] = {}
        book.listeners.append(self.hooks.heard)
        self._keys = Keys()
        self._own = own
        self._recent: deque[int] = deque()

    @property
    def client_key(self) -> str:
        return "pk_" + self.key.removeprefix("sk_")

    def respond(self, request: Request) -> Reply:
        self.book.advance()
        if not request.path.startswith("/v1/"):
            return Reply(self._own(self, request))
        name = f"{request.method} {request.path}"
        self.calls[request.method] = self.calls.get(request.method, 0) + 1
        fault = self.faults.take(name, self.book.chance)
        first = self.hooks.manners.first
        if fault is None:
            answer, end = self._answer(request)
            end()
            return Reply(answer, hooks_first=first)
        if fault.fault == FaultKind.LATE:
            answer, end = self._answer(request)
            return Reply(answer, fault.seconds, first, end)
        if fault.fault == FaultKind.BROKEN_KEPT:
            answer, end = self._answer(request, broken=True)
            end()
            return Reply(answer, hooks_first=first)
        if fault.when == When.AFTER:
            self._answer(request)[1]()
        return self._instead(request, fault)

    def _instead(self, request: Request, fault: Fault) -> Reply:
        """What comes in place of the answer."""
        if fault.fault == FaultKind.CUT:
            return Reply(None)
        if fault.fault == FaultKind.SILENT:
            return Reply(None, fault.seconds)
        if fault.fault == FaultKind.HTML:
            return Reply(Answer(503, HTML, "text/html; charset=utf-8"))
        kinds = {FaultKind.THROTTLED: throttled, FaultKind.LOCK_TIMEOUT: lock_timeout}
        refused = kinds[fault.fault]() if fault.fault in kinds else _broken()
        return Reply(self._refusal(request, refused, self.book.new_id("req", 14)))

    def _answer(
        self, request: Request, *, broken: bool = False
    ) -> tuple[Answer, Callable[[], None]]:
        """Do it, once for a key. The function ends the key's lock."""
        request_id = self.book.new_id("req", 14)
        key = request.headers.get("idempotency-key", "") if request.method == "POST" else ""
        account = request.headers.get("stripe-account", "")
        try:
            self._authenticate(request)
            self._spend()
            if key:
                asked = fingerprint(request.method, request.path, request.body)
                kept = self._keys.begin(
                    account, key, asked, now_ns=self.book.now_ns, request_id=request_id
                )
                if kept is not None:
                    return self._again(request, kept, request_id), _nothing
        except Refused as refused:
            return self._refusal(request, refused, request_id), _nothing
        self.book.request = {"id": request_id, "idempotency_key": key or None}
        answer = self._work(request, account, request_id)
        self.book.request = {"id": None, "idempotency_key": None}
        if broken and answer.status < 400:
            answer = self._refusal(request, _broken(), request_id)
        if not key:
            return answer, _nothing
        return answer, lambda: self._keys.end(account, key, answer.status, answer.body)

    def _again(self, request: Request, kept: Kept, request_id: str) -> Answer:
        assert kept.answer is not None, "an answer that is given again was kept"
        status, body = kept.answer
        more: Headers = (("idempotent-replayed", "true"), ("original-request", kept.request_id))
        if status >= 500:
            more = (*more, ("stripe-should-retry", "false"))
        return Answer(status, body, headers=self._headers(request, request_id) + more)

    def _work(self, request: Request, account: str, request_id: str) -> Answer:
        try:
            thing = self._do(request, account)
        except Refused as refused:
            return self._refusal(request, refused, request_id)
        body = json.dumps(thing, indent=2).encode()
        return Answer(200, body, headers=self._headers(request, request_id))

    def _do(self, request: Request, account: str) -> Thing:
        found = find(request.method, request.path)
        if found is None:
            words = f"Unrecognized request URL ({request.method}: {request.path})."
            raise Refused(404, words + " The stand-in's calls are listed in docs/stand-ins.md.")
        act, ids, pattern = found
        client = self._is_client(request)
        if client and (request.method, pattern) not in FOR_CLIENTS:
            words = "This API call cannot be made with a publishable API key."
            raise Refused(401, f"{words} Please use a secret API key.")
        params = Params(self._parameters(request))
        paths = params.texts("expand") or []
        desk = self.book.desk(account)
        thing = act(Call(desk, params, ids, client))
        return expanded(desk, thing, paths)

    def _parameters(self, request: Request) -> dict[str, Any]:
        if request.method == "POST":
            return parse(request.body.decode("utf-8", "replace"))
        return parse(urlencode(request.query, doseq=True))

    def _authenticate(self, request: Request) -> None:
        given = _given_key(request)
        if not given:
            words = (
                "You did not provide an API key. You need to provide your API key in the "
                "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer "
                "YOUR_SECRET_KEY')."
            )
            raise Refused(401, words)
        if given not in (self.key, self.client_key):
            raise Refused(401, f"Invalid API Key provided: {given[:8]}****{given[-4:]}")

    def _is_client(self, request: Request) -> bool:
        return _given_key(request) == self.client_key

    def _spend(self) -> None:
        """So many calls in any second; the rest is told to come again."""
        most = self.book.rules.calls_per_second
        now = self.book.clock.monotonic_ns()
        while self._recent and self._recent[0] <= now - NS:
            self._recent.popleft()
        if most and len(self._recent) >= most:
            raise throttled()
        self._recent.append(now)

    def _refusal(self, request: Request, refused: Refused, request_id: str) -> Answer:
        body = refused.body()
        body["error"]["request_log_url"] = f"{self.book.url}{OWN}state#{request_id}"
        headers = self._headers(request, request_id) + refused.headers
        return Answer(refused.status, json.dumps(body, indent=2).encode(), headers=headers)

    def _headers(self, request: Request, request_id: str) -> Headers:
        version = request.headers.get("stripe-version", API_VERSION)
        headers: Headers = (("request-id", request_id), ("stripe-version", version))
        for name in ("idempotency-key", "stripe-account"):
            if name in request.headers:
                headers = (*headers, (name, request.headers[name]))
        return (*headers, ("server", SERVER))


def _nothing() -> None:
    return None


def _broken() -> Refused:
    return Refused(500, "An unknown error occurred", kind="api_error")


def _given_key(request: Request) -> str:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return given.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
