"""Between a cloud's API and the wire: faults before and after the work, and the own routes.

A cloud is a :class:`Dialect` over a world. :meth:`Shell.respond` turns a request into a reply and
waits for nothing; the front (ASGI or sockets) does the waiting and the cutting.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import unquote

from standins.clouds.faults import Fault, FaultKind, Operation, When, read_faults
from standins.clouds.machine import Machine
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.stock import read_stocks
from standins.clouds.world import World

SERVER = "ganglion-stand-in"
BODY_BYTES_MAX = 4 * 1024 * 1024
OWN = "/stand-in/"
HTML = b"<!DOCTYPE html><html><head><title>%d</title></head><body>A page for people.</body></html>"
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are in lower case, ``path`` is decoded."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """The body, or ``Refused`` (bad request); an empty body is ``None``."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except ValueError as wrong:
            raise Refused(Trouble.BAD_REQUEST, "The body is not JSON.") from wrong

    def one(self, name: str) -> str:
        """A query parameter's first value, or ""."""
        return self.query.get(name, [""])[0]

    def bearer(self) -> str:
        kind, _, key = self.headers.get("authorization", "").partition(" ")
        return key.strip() if kind.lower() == "bearer" else ""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client gets. ``answer`` None: the connection ends without a byte; ``half``: in
    the middle of the body. First nothing happens for ``wait_seconds``."""

    answer: Answer | None
    wait_seconds: float = 0.0
    half: bool = False


class Dialect(Protocol):
    """One cloud's API over its world."""

    @property
    def name(self) -> str: ...

    @property
    def world(self) -> World: ...

    def operation(self, request: Request) -> Operation:
        """What the request asks for, whether or not it may; never raises."""
        ...

    def answer(self, request: Request) -> Answer:
        """Do it, keys and rate limits first; may raise ``Refused``."""
        ...

    def refuse(self, request: Request, refused: Refused) -> Answer:
        """The refusal in the cloud's own words, status and headers."""
        ...


def as_json(value: object, status: int = 200, headers: Headers = ()) -> Answer:
    return Answer(status, json.dumps(value).encode(), headers=headers)


REFUSALS = {
    FaultKind.THROTTLED: Trouble.THROTTLED,
    FaultKind.BROKEN: Trouble.BROKEN,
    FaultKind.NO_CAPACITY: Trouble.NO_CAPACITY,
    FaultKind.UNAUTHORIZED: Trouble.UNAUTHORIZED,
    FaultKind.FORBIDDEN: Trouble.FORBIDDEN,
    FaultKind.NO_BALANCE: Trouble.NO_BALANCE,
    FaultKind.ACCOUNT_LIMIT: Trouble.ACCOUNT_LIMIT,
    FaultKind.BAD_REQUEST: Trouble.BAD_REQUEST,
}
_INSTEAD = {*REFUSALS, FaultKind.SILENT, FaultKind.CUT, FaultKind.HTML, FaultKind.GARBLED}
_INSTEAD |= {FaultKind.HUGE}


class Shell:
    """One emulated cloud without its front."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.world = dialect.world

    def respond(self, request: Request) -> Reply:
        """Do what is asked, at once, and say what the client shall see of it."""
        if request.path.startswith(OWN):
            return Reply(self._own(request))
        fault = self.world.take_fault(self.dialect.operation(request))
        if fault is None or fault.fault not in _INSTEAD:
            answer = self._work(request, fault)
            if fault and fault.fault == FaultKind.HALF:
                return Reply(answer, half=True)
            late = fault.seconds if fault and fault.fault == FaultKind.LATE else 0.0
            return Reply(answer, wait_seconds=late)
        if fault.when == When.AFTER:
            self._work(request, None)
        return self._instead(request, fault)

    def _work(self, request: Request, fault: Fault | None) -> Answer:
        with self.world.under(fault):
            try:
                return self.dialect.answer(request)
            except Refused as refused:
                return self.dialect.refuse(request, refused)

    def _instead(self, request: Request, fault: Fault) -> Reply:
        """What comes in place of the answer."""
        if fault.fault == FaultKind.SILENT:
            return Reply(None, wait_seconds=fault.seconds)
        if fault.fault == FaultKind.CUT:
            return Reply(None)
        if fault.fault == FaultKind.HTML:
            return Reply(Answer(fault.status, HTML % fault.status, "text/html; charset=utf-8"))
        if fault.fault == FaultKind.GARBLED:
            return Reply(as_json(["garbled", {"unexpected": None}, 42]))
        if fault.fault == FaultKind.HUGE:
            padding = b'{"padding": "' + b"x" * fault.bytes + b'"}'
            return Reply(Answer(200, padding))
        refused = Refused(
            REFUSALS[fault.fault],
            status=fault.status if fault.fault == FaultKind.BROKEN else 0,
            retry_after=fault.retry_after,
        )
        return Reply(self.dialect.refuse(request, refused))

    def _own(self, request: Request) -> Answer:
        """The routes that no real cloud has. They bear no key: the stand-in is for a desk."""
        place = request.path.removeprefix(OWN)
        route = _OWN_ROUTES.get((request.method, place.split("/")[0]))
        if route is None:
            return as_json({"detail": "no such route of the stand-in"}, 404)
        try:
            return as_json(route(self, request))
        except Refused as refused:
            return as_json({"detail": refused.detail}, 409)
        except ValueError as wrong:
            return as_json({"detail": str(wrong)[:300]}, 400)

    def _state(self, request: Request) -> object:
        world = self.world
        world.advance()
        return {
            "stand_in": self.dialect.name,
            "spent_nano": world.spent_nano(),
            "balance_nano": world.balance_nano(),
            "calls": world.calls,
            "faults": world.faults.left(),
            "machines": [shown(machine) for machine in world.machines.values()],
            "stocks": [
                {"key": one.stock.key, "gpu_name": one.stock.gpu_name, "free": one.free}
                for one in world.shelves()
            ],
        }

    def _faults(self, request: Request) -> object:
        if request.method == "POST":
            self.world.add_faults(read_faults(json.loads(request.body)))
        elif request.method == "DELETE":
            self.world.faults.clear()
        return {"faults": self.world.faults.left()}

    def _stocks(self, request: Request) -> object:
        """Add or change some, and leave the others."""
        for stock in read_stocks(json.loads(request.body)):
            self.world.set_stock(stock)
        return {"stocks": len(self.world.stocks)}

    def _machines(self, request: Request) -> object:
        machine_id, _, verb = request.path.removeprefix(OWN + "machines/").partition("/")
        verbs = {"interrupt": self.world.interrupt, "fail": self.world.fail}
        if verb not in verbs:
            raise ValueError(f"a machine can be told to: {', '.join(verbs)}")
        return shown(verbs[verb](machine_id))


def shown(machine: Machine) -> dict[str, object]:
    """A machine for people and tests; of its environment the names only."""
    program = machine.rental.program
    return {
        "machine_id": machine.machine_id,
        "tag": machine.tag,
        "state": machine.state,
        "why": machine.why,
        "exit_code": machine.exit_code,
        "stock": machine.stock.key,
        "gpu_name": machine.stock.gpu_name,
        "gpus": machine.rental.gpus,
        "spot": machine.spot,
        "made_ns": machine.made_ns,
        "cost_nano": machine.cost_nano(),
        "environment": sorted(program.env) if program else [],
    }


_OWN_ROUTES: dict[tuple[str, str], Callable[[Shell, Request], object]] = {
    ("GET", "state"): Shell._state,
    ("GET", "faults"): Shell._faults,
    ("POST", "faults"): Shell._faults,
    ("DELETE", "faults"): Shell._faults,
    ("PUT", "stocks"): Shell._stocks,
    ("POST", "machines"): Shell._machines,
}


def with_server(answer: Answer) -> Answer:
    """Every answer says what it comes from."""
    return replace(answer, headers=(*answer.headers, ("server", SERVER)))


def decoded(target: str) -> str:
    return unquote(target)
