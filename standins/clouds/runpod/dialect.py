"""RunPod's manners on the wire: keys, rate limits, and refusals in the shape of each API."""

from __future__ import annotations

import hmac
import math
import re

from standins.clouds.faults import Operation
from standins.clouds.limits import Left, Window
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.runpod import graphql, pods, rest
from standins.clouds.runpod.account import Account
from standins.clouds.runpod.graphql import Root
from standins.clouds.shell import Answer, Headers, Request, as_json
from standins.clouds.world import World

WINDOWS = (Window("minute", 60, 60), Window("hour", 3000, 3600), Window("day", 50_000, 86_400))
POLICY = ", ".join(f'"{one.name}";q={one.quota};w={one.seconds:.0f}' for one in WINDOWS)
GRAPHQL = "/graphql"
_JOB = re.compile(r"/v2/([a-z0-9-]{1,40})/(run|runsync|health|status/([A-Za-z0-9-]{1,60}))")
_RESERVED = {"pods", "catalog", "network-volumes", "account", "billing", "templates"}
_STATUS = {
    Trouble.NO_CAPACITY: 400,
    Trouble.THROTTLED: 429,
    Trouble.BROKEN: 500,
    Trouble.UNAUTHORIZED: 401,
    Trouble.FORBIDDEN: 403,
    Trouble.NO_BALANCE: 402,
    Trouble.ACCOUNT_LIMIT: 402,
    Trouble.BAD_REQUEST: 400,
    Trouble.MISSING: 404,
    Trouble.CONFLICT: 409,
    Trouble.UNROUTED: 404,
}
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
}
_WORDS = {
    Trouble.UNAUTHORIZED: "invalid api key",
    Trouble.FORBIDDEN: "access denied",
    Trouble.NO_BALANCE: "insufficient balance",
    Trouble.ACCOUNT_LIMIT: "spending limit reached",
    Trouble.THROTTLED: "rate limit exceeded for the minute window",
    Trouble.MISSING: "resource not found",
}


class RunPod:
    """The dialect: GraphQL at ``/graphql``, REST v2 and serverless jobs under ``/v2``."""

    name = "runpod"

    def __init__(self, world: World, *, api_key: str) -> None:
        self.world = world
        self._api_key = api_key
        self._account = Account(world)
        self._rest = rest.Rest(world, self._account)
        self._root = Root(world, self._account)

    def operation(self, request: Request) -> Operation:
        if request.path == GRAPHQL:
            return graphql.operation(_query(request))
        return rest.operation(request)

    def answer(self, request: Request) -> Answer:
        if request.path == GRAPHQL:
            return self._graphql(request)
        self._check_key(request)
        job = _JOB.fullmatch(request.path)
        if job is not None and job[1] not in _RESERVED:
            return self._job(request, job[2], job[3] or "")
        left = self._spend()
        answer = self._rest_answer(request)
        return Answer(
            answer.status, answer.body, answer.content_type, (*answer.headers, *_told(left))
        )

    def refuse(self, request: Request, refused: Refused) -> Answer:
        status = refused.status or _STATUS[refused.trouble]
        if refused.trouble == Trouble.NO_CAPACITY:
            refused.detail = pods.NO_INSTANCES
        refused.detail = refused.detail or _WORDS.get(refused.trouble, "something went wrong")
        headers: Headers = ()
        if refused.retry_after is not None:
            headers = (("retry-after", str(math.ceil(refused.retry_after))),)
        if request.path == GRAPHQL and refused.trouble not in _OWN_STATUS:
            errors = [graphql.said(refused).formatted]
            return as_json({"errors": errors, "data": None}, headers=headers)
        if request.path == GRAPHQL:
            return as_json({"message": refused.detail}, status, headers)
        title = _TITLES.get(status, "Internal Server Error")
        answer = as_json({"title": title, "status": status, "detail": refused.detail}, status)
        if status not in (401, 429):
            headers = (*headers, *_told(self._left()))
        return Answer(status, answer.body, "application/problem+json", headers)

    def _rest_answer(self, request: Request) -> Answer:
        try:
            return self._rest.answer(request)
        except Refused as refused:
            return self.refuse(request, refused)

    def _graphql(self, request: Request) -> Answer:
        if request.method != "POST":
            raise Refused(Trouble.UNROUTED, "POST a query", status=405)
        body = request.json()
        if not isinstance(body, dict):
            raise Refused(Trouble.BAD_REQUEST, "Must provide query string.")
        if not graphql.is_open(body.get("query")):
            self._check_key(request)
        return as_json(graphql.run(self._root, body))

    def _job(self, request: Request, verb: str, job_id: str) -> Answer:
        if verb == "health":
            return as_json({"jobs": {"completed": 0, "inQueue": 0}, "workers": {"idle": 1}})
        if job_id:
            return as_json(self._account.job(job_id))
        made = self._account.run_job(request.json())
        if verb == "runsync":
            return as_json(self._account.job(made))
        return as_json({"id": made, "status": "IN_QUEUE"})

    def _check_key(self, request: Request) -> None:
        given = request.bearer() or request.one("api_key")
        if not given:
            raise Refused(Trouble.UNAUTHORIZED, "missing bearer token")
        if not hmac.compare_digest(given.encode(), self._api_key.encode()):
            raise Refused(Trouble.UNAUTHORIZED, "invalid api key")

    def _spend(self) -> tuple[Left, ...]:
        if not self.world.rules.rate_limits:
            return self._left()
        return self.world.limits.spend("user", WINDOWS, self.world.now_ns)

    def _left(self) -> tuple[Left, ...]:
        return self.world.limits.look("user", WINDOWS, self.world.now_ns)


_OWN_STATUS = {Trouble.UNAUTHORIZED, Trouble.THROTTLED, Trouble.BROKEN, Trouble.UNROUTED}


def _query(request: Request) -> object:
    try:
        body = request.json()
    except Refused:
        return None
    return body.get("query") if isinstance(body, dict) else None


def _told(left: tuple[Left, ...]) -> Headers:
    windows = ", ".join(
        f'"{one.window.name}";r={one.calls};t={math.ceil(one.reset_seconds)}' for one in left
    )
    return (("ratelimit", windows), ("ratelimit-policy", POLICY))
