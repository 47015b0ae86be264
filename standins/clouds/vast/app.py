"""Vast.ai's routes, keys and limits, and its several ways to refuse."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from standins.clouds.faults import Operation
from standins.clouds.limits import Window
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.shell import Answer, Headers, Request, as_json
from standins.clouds.vast import account, instances, market, orders, volumes
from standins.clouds.vast.desk import Call, Desk, Says
from standins.clouds.world import World

Verb = Callable[[Desk, Call], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """``interval``: the least seconds between two calls of one caller; 0 = none is known."""

    verb: Verb
    operation: Operation
    interval: float = 0.0
    keyless: bool = False


_O = Operation
# Without the /api before it and the slash behind it; # stands for a number.
ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "v0/bundles"): Route(market.search, _O.OFFERS),
    ("PUT", "v0/search/asks"): Route(market.search, _O.OFFERS),
    ("PUT", "v0/asks/#"): Route(orders.create, _O.CREATE, 4.5),
    ("POST", "v0/asks/bulk"): Route(orders.create_many, _O.CREATE, 4.5),
    ("PUT", "v0/launch_instance"): Route(orders.launch, _O.CREATE, 4.5),
    ("GET", "v1/instances"): Route(instances.list_page, _O.LIST, 1.0),
    ("GET", "v0/instances"): Route(instances.list_old, _O.LIST, 1.0),
    ("GET", "v0/instances/filters"): Route(instances.filters, _O.OTHER),
    ("GET", "v0/instances/#"): Route(instances.show, _O.GET, 2.0),
    ("PUT", "v0/instances/#"): Route(instances.change, _O.OTHER, 1.0),
    ("PUT", "v0/instances"): Route(instances.change_many, _O.OTHER, 1.0),
    ("DELETE", "v0/instances/#"): Route(instances.destroy, _O.TERMINATE, 3.0),
    ("DELETE", "v0/instances"): Route(instances.destroy_many, _O.TERMINATE, 3.0),
    ("PUT", "v0/instances/reboot/#"): Route(instances.reboot, _O.OTHER, 1.0),
    ("PUT", "v0/instances/recycle/#"): Route(instances.reboot, _O.OTHER, 1.0),
    ("PUT", "v0/instances/bid_price/#"): Route(instances.bid, _O.OTHER, 5.5),
    ("PUT", "v0/instances/command/#"): Route(instances.execute, _O.OTHER, 1.5),
    ("PUT", "v0/instances/request_logs/#"): Route(instances.logs, _O.OTHER, 1.5),
    ("GET", "v0/instances/#/ssh"): Route(account.instance_keys, _O.OTHER, 2.0),
    ("POST", "v0/instances/#/ssh"): Route(account.attach_key, _O.OTHER, 2.0),
    ("DELETE", "v0/instances/#/ssh/#"): Route(account.detach_key, _O.OTHER, 2.0),
    ("GET", "v0/instances/balance/#"): Route(account.deposit, _O.OTHER, 2.0),
    ("PUT", "v0/instances/prepay/#"): Route(account.prepay, _O.OTHER, 3.0),
    ("GET", "v0/ssh"): Route(account.ssh_keys, _O.OTHER, 1.0),
    ("POST", "v0/ssh"): Route(account.add_ssh_key, _O.OTHER, 1.0),
    ("PUT", "v0/ssh/#"): Route(account.change_ssh_key, _O.OTHER, 1.0),
    ("DELETE", "v0/ssh/#"): Route(account.remove_ssh_key, _O.OTHER, 1.0),
    ("GET", "v0/users/current"): Route(account.user, _O.OTHER),
    ("GET", "v0/charges"): Route(account.charges, _O.OTHER),
    ("POST", "v0/contracts/fetch"): Route(account.contracts, _O.OTHER),
    ("POST", "v0/volumes/search"): Route(volumes.search, _O.OTHER, 5.5),
    ("PUT", "v0/volumes"): Route(volumes.create, _O.OTHER, 5.5),
    ("GET", "v0/volumes"): Route(volumes.show, _O.OTHER, 5.5),
    ("DELETE", "v0/volumes"): Route(volumes.remove, _O.OTHER, 5.5),
    ("GET", "v0/gpu_names/unique"): Route(account.gpu_names, _O.OTHER, keyless=True),
}
NUMBER = re.compile(r"[0-9]{1,18}\Z")
_STATES = {"running": Operation.START, "stopped": Operation.STOP}

# Of each trouble: status, code, words. A bad key is a 404, as a missing machine is.
SAID: dict[Trouble, tuple[int, str, str]] = {
    Trouble.NO_CAPACITY: (410, "no_such_ask", "This offer is not available."),
    Trouble.THROTTLED: (429, "", "API requests too frequent"),
    Trouble.BROKEN: (500, "internal_error", "Something went wrong."),
    Trouble.UNAUTHORIZED: (404, "auth_error", "Invalid user key"),
    Trouble.FORBIDDEN: (403, "forbidden", "This key may not do this."),
    Trouble.NO_BALANCE: (400, "insufficient_credit", "Your account lacks credit."),
    Trouble.ACCOUNT_LIMIT: (400, "account_limit", "Your account has reached its limit."),
    Trouble.BAD_REQUEST: (400, "invalid_args", "Invalid request."),
    Trouble.MISSING: (404, "no_such_instance", "Not found."),
    Trouble.CONFLICT: (400, "invalid_state", "Not in its present state."),
    Trouble.UNROUTED: (404, "not_found", "No such endpoint."),
}


class Vast:
    """The dialect."""

    name = "vast"

    def __init__(self, world: World, *, api_key: str, searches_per_day: int) -> None:
        self.world = world
        self.desk = Desk(world, api_key, searches_per_day)

    def operation(self, request: Request) -> Operation:
        route = ROUTES.get((request.method, _place(request.path)[0]))
        if route is None:
            return Operation.OTHER
        if route.verb in {instances.change, instances.change_many}:
            try:
                asked = request.json()
            except Refused:
                return Operation.OTHER
            state = asked.get("state") if isinstance(asked, dict) else None
            return (
                _STATES.get(state, Operation.OTHER) if isinstance(state, str) else Operation.OTHER
            )
        return route.operation

    def answer(self, request: Request) -> Answer:
        if request.method == "GET" and request.path.startswith("/results/"):
            return account.result(self.desk, request.path.removeprefix("/results/"))
        place, numbers = _place(request.path)
        route = ROUTES.get((request.method, place))
        if route is None:
            raise Refused(Trouble.UNROUTED)
        if not route.keyless:
            self._check_key(request)
        if route.interval and self.world.rules.rate_limits:
            self._spend(request.method, place, route.interval)
        body = _body(request, odd=route.verb is instances.execute)
        return route.verb(self.desk, Call(request, numbers, body))

    def refuse(self, request: Request, refused: Refused) -> Answer:
        status, code, words = SAID[refused.trouble]
        status, words = refused.status or status, refused.detail or words
        if isinstance(refused, Says):
            headers = (("x-ratelimit-reset", str(self.desk.quota_reset())),)
            said = {"success": False, "error": refused.code, "msg": words, **refused.more}
            return as_json(said, status, headers if status == 429 else ())
        if refused.trouble == Trouble.THROTTLED:
            after = refused.retry_after
            wait: Headers = () if after is None else (("retry-after", f"{after:g}"),)
            return Answer(429, words.encode(), "text/plain; charset=utf-8", wait)
        return as_json({"success": False, "error": code, "msg": words}, status)

    def _check_key(self, request: Request) -> None:
        if (request.bearer() or request.one("api_key")) != self.desk.key:
            raise Refused(Trouble.UNAUTHORIZED)

    def _spend(self, method: str, place: str, interval: float) -> None:
        """A least interval; this cloud tells the limit and never how long to wait."""
        windows = [Window(f"{method} {place}", 1, interval)]
        try:
            self.world.limits.spend(self.desk.key, windows, self.world.now_ns)
        except Refused:
            words = f"API requests too frequent: endpoint threshold={interval}"
            raise Refused(Trouble.THROTTLED, words) from None


def _body(request: Request, *, odd: bool) -> dict[str, Any]:
    """The JSON object; of a command that cannot be read the cloud says so by an odd status."""
    if request.method == "GET":
        return {}
    try:
        body = request.json()
    except Refused as refused:
        raise Says(483 if odd else 400, "invalid_args", refused.detail) from None
    if body is not None and not isinstance(body, dict):
        raise Refused(Trouble.BAD_REQUEST, "The body must be a JSON object.")
    return body or {}


def _place(path: str) -> tuple[str, tuple[int, ...]]:
    """The path as the table has it, and the numbers in it. With or without the last slash."""
    parts = path.removeprefix("/api").strip("/").split("/")
    numbers = tuple(int(part) for part in parts if NUMBER.match(part))
    return "/".join("#" if NUMBER.match(part) else part for part in parts), numbers
