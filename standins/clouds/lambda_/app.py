"""Lambda's routes, keys, limits and codes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass

from standins.clouds.faults import Operation
from standins.clouds.lambda_ import account, firewalls, instances, types
from standins.clouds.lambda_.desk import Call, Desk, Says
from standins.clouds.limits import Window
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.shell import Answer, Headers, Request, as_json
from standins.clouds.world import World

Verb = Callable[[Desk, Call], Answer]
PREFIX = "/api/v1/"
# One call a second, counted over five: a command makes two or three in a row.
CALLS = Window("calls", 5, 5.0)
LAUNCHES = Window("launches", 1, 12.0)


@dataclass(frozen=True, slots=True)
class Route:
    verb: Verb
    operation: Operation


_O = Operation
# A last * stands for an id.
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "instance-types"): Route(types.list_types, _O.OFFERS),
    ("POST", "instance-operations/launch"): Route(instances.launch, _O.CREATE),
    ("POST", "instance-operations/restart"): Route(instances.restart, _O.OTHER),
    ("POST", "instance-operations/terminate"): Route(instances.terminate, _O.TERMINATE),
    ("GET", "instances"): Route(instances.list_all, _O.LIST),
    ("GET", "instances/*"): Route(instances.show, _O.GET),
    ("POST", "instances/*"): Route(instances.rename, _O.OTHER),
    ("GET", "ssh-keys"): Route(account.ssh_keys, _O.OTHER),
    ("POST", "ssh-keys"): Route(account.add_ssh_key, _O.OTHER),
    ("DELETE", "ssh-keys/*"): Route(account.remove_ssh_key, _O.OTHER),
    ("GET", "file-systems"): Route(account.filesystems, _O.OTHER),
    ("POST", "filesystems"): Route(account.add_filesystem, _O.OTHER),
    ("DELETE", "filesystems/*"): Route(account.remove_filesystem, _O.OTHER),
    ("GET", "images"): Route(account.images, _O.OTHER),
    ("GET", "audit-events"): Route(account.audit_events, _O.OTHER),
    ("GET", "firewall-rules"): Route(firewalls.show_rules, _O.OTHER),
    ("PUT", "firewall-rules"): Route(firewalls.put_rules, _O.OTHER),
    ("GET", "firewall-rulesets"): Route(firewalls.list_sets, _O.OTHER),
    ("POST", "firewall-rulesets"): Route(firewalls.add_set, _O.OTHER),
    ("GET", "firewall-rulesets/global"): Route(firewalls.show_global, _O.OTHER),
    ("PATCH", "firewall-rulesets/global"): Route(firewalls.patch_global, _O.OTHER),
    ("GET", "firewall-rulesets/*"): Route(firewalls.show_set, _O.OTHER),
    ("PATCH", "firewall-rulesets/*"): Route(firewalls.patch_set, _O.OTHER),
    ("DELETE", "firewall-rulesets/*"): Route(firewalls.remove_set, _O.OTHER),
}

SAID: dict[Trouble, tuple[int, str, str]] = {
    Trouble.NO_CAPACITY: (
        400,
        "instance-operations/launch/insufficient-capacity",
        "Not enough capacity to fulfill launch request.",
    ),
    Trouble.BROKEN: (500, "global/internal-error", "An internal error occurred."),
    Trouble.UNAUTHORIZED: (401, "global/invalid-api-key", "API key was invalid."),
    Trouble.FORBIDDEN: (403, "global/account-inactive", "Your account is inactive."),
    Trouble.NO_BALANCE: (403, "global/invalid-address", "Your billing address is invalid."),
    Trouble.ACCOUNT_LIMIT: (400, "global/quota-exceeded", "Quota exceeded."),
    Trouble.BAD_REQUEST: (400, "global/invalid-parameters", "Invalid request data."),
    Trouble.MISSING: (404, "global/object-does-not-exist", "Specified object does not exist."),
    Trouble.CONFLICT: (
        400,
        "instance-operations/launch/file-system-in-wrong-region",
        "Not in this state or place.",
    ),
    Trouble.UNROUTED: (404, "global/object-does-not-exist", "No such endpoint."),
}


class Lambda:
    """The dialect."""

    name = "lambda"

    def __init__(self, world: World, *, api_key: str, capacity_lag_seconds: float) -> None:
        self.world = world
        self.desk = Desk(world, api_key, capacity_lag_seconds)

    def operation(self, request: Request) -> Operation:
        route, _ = _route(request)
        return route.operation if route else Operation.OTHER

    def answer(self, request: Request) -> Answer:
        route, place = _route(request)
        if route is None:
            raise Refused(Trouble.UNROUTED)
        if self.desk.key not in (request.bearer(), _basic(request)):
            raise Refused(Trouble.UNAUTHORIZED)
        if self.world.rules.rate_limits:
            self._spend(route.operation)
        body = request.json()
        if body is not None and not isinstance(body, dict):
            raise Refused(Trouble.BAD_REQUEST)
        return route.verb(self.desk, Call(request, place, body or {}))

    def refuse(self, request: Request, refused: Refused) -> Answer:
        """A code in every refusal, except where too many calls are turned away at the door."""
        if refused.trouble == Trouble.THROTTLED:
            after = refused.retry_after
            wait: Headers = () if after is None else (("retry-after", f"{after:g}"),)
            return Answer(429, b"Too Many Requests", "text/plain; charset=utf-8", wait)
        status, code, words = SAID[refused.trouble]
        if isinstance(refused, Says):
            code = refused.code
        message = refused.detail or words
        said = {"code": code, "message": message, "suggestion": "See the documentation."}
        return as_json({"error": said}, refused.status or status)

    def _spend(self, operation: Operation) -> None:
        windows = [CALLS, LAUNCHES] if operation == Operation.CREATE else [CALLS]
        try:
            self.world.limits.spend(self.desk.key, windows, self.world.now_ns)
        except Refused:
            raise Refused(Trouble.THROTTLED) from None  # how long is not told


def _route(request: Request) -> tuple[Route | None, str]:
    if not request.path.startswith(PREFIX):
        return None, ""
    place = request.path.removeprefix(PREFIX).rstrip("/")
    if route := ROUTES.get((request.method, place)):
        return route, ""
    head, _, last = place.rpartition("/")
    return ROUTES.get((request.method, f"{head}/*")), last


def _basic(request: Request) -> str:
    """The key as a user's name with an empty password."""
    kind, _, packed = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(packed, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
