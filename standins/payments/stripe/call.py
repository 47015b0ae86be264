"""One call of the API, as the modules that do it see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from standins.payments.stripe.book import KINDS, Book, Desk, Page, Thing, listed
from standins.payments.stripe.forms import Params
from standins.payments.stripe.refusals import no_such


@dataclass(slots=True)
class Call:
    """``ids``: the parts of the path that are variable. ``client``: by a publishable key."""

    desk: Desk
    params: Params
    ids: tuple[str, ...] = ()
    client: bool = False

    @property
    def book(self) -> Book:
        return self.desk.book

    def own(self, kind: str) -> Thing:
        """The object that the path names. A client must know its secret."""
        thing = self.desk.find(kind, self.ids[0])
        secret = self.params.text("client_secret")
        if (self.client or secret) and secret != thing.get("client_secret"):
            raise no_such(KINDS[kind][0], self.ids[0])
        return thing

    def page(self, kind: str, rows: Iterable[Thing], *, url: str = "") -> Thing:
        """The list of ``rows``; the call's own filters must have been read before."""
        params = self.params
        page = Page(
            limit=10 if (limit := params.integer("limit")) is None else limit,
            starting_after=params.text("starting_after") or "",
            ending_before=params.text("ending_before") or "",
            created=_created(params),
        )
        params.done()
        return listed(iter(rows), url or KINDS[kind][1], page, kind=kind)


def _created(params: Params) -> dict[str, int]:
    given = params.any("created")
    if isinstance(given, str) and given:
        return {"is": int(given)} if given.isdigit() else {}
    inner = params.child("created")
    bounds = {name: inner.integer(name) for name in ("gt", "gte", "lt", "lte")}
    return {name: bound for name, bound in bounds.items() if bound is not None}


Act = Callable[[Call], Thing]
Routes = dict[tuple[str, str], Act]


def retriever(kind: str) -> Act:
    """GET of one object."""

    def retrieve(call: Call) -> Thing:
        thing = call.own(kind)
        call.params.done()
        return thing

    return retrieve
