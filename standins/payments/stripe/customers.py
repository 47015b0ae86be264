"""Customers: made, changed, deleted (and then still told of)."""

from __future__ import annotations

from typing import Any

from standins.payments.stripe.book import Desk, Thing
from standins.payments.stripe.call import Call, Routes
from standins.payments.stripe.forms import Params
from standins.payments.stripe.methods import detach_from_deleted
from standins.payments.stripe.refusals import invalid, no_such

PLAIN = ("email", "name", "phone", "description")
KEPT = ("address", "shipping")  # as they came


def create(call: Call) -> Thing:
    params = call.params
    fields = _fields(call, {}, params)
    method = params.text("payment_method")
    params.ignore("preferred_locales", "tax_exempt", "tax", "source", "balance")
    params.done()
    if method:
        words = "This stand-in attaches payment methods by their own call alone."
        raise invalid(words, "payment_method")
    return make_customer(call.desk, **fields)


def make_customer(desk: Desk, **fields: Any) -> Thing:
    empty = dict.fromkeys((*PLAIN, *KEPT))
    no_settings = dict.fromkeys(("custom_fields", "default_payment_method", "footer"))
    customer = desk.make(
        "customer",
        "cus",
        balance=0,
        currency=None,
        default_source=None,
        delinquent=False,
        invoice_prefix=desk.book.new_id("x", 8)[2:].upper(),
        **({**empty, "metadata": {}, "invoice_settings": no_settings} | fields),
    )
    desk.emit("customer.created", customer)
    return customer


def retrieve(call: Call) -> Thing:
    call.params.done()
    customer = call.desk.find("customer", call.ids[0])
    return gone(customer) if customer.get("deleted") else customer


def update(call: Call) -> Thing:
    customer = living(call, call.ids[0])
    fields = _fields(call, customer, call.params)
    call.params.ignore("preferred_locales", "tax_exempt", "tax")
    call.params.done()
    before = {name: customer.get(name) for name in fields if customer.get(name) != fields[name]}
    customer |= fields
    if before:
        call.desk.emit("customer.updated", customer, before)
    return customer


def delete(call: Call) -> Thing:
    call.params.done()
    customer = living(call, call.ids[0])
    detach_from_deleted(call.desk, customer["id"])
    call.desk.emit("customer.deleted", customer)
    customer["deleted"] = True
    return gone(customer)


def list_all(call: Call) -> Thing:
    email = call.params.text("email")
    rows = [
        row
        for row in call.desk.table("customer").values()
        if not row.get("deleted") and (email is None or row["email"] == email)
    ]
    return call.page("customer", rows)


def living(call: Call, wanted: str, param: str = "") -> Thing:
    """A customer that may be used; raises ``Refused``."""
    customer = call.desk.find("customer", wanted, param=param)
    if customer.get("deleted"):
        raise no_such("customer", wanted, param=param)
    return customer


def gone(customer: Thing) -> Thing:
    return {"id": customer["id"], "object": "customer", "deleted": True}


def _fields(call: Call, before: Thing, params: Params) -> Thing:
    fields: Thing = {}
    for name in PLAIN:
        given = params.text(name)
        fields[name] = before.get(name) if given is None else given or None
    for name in KEPT:
        given = params.any(name)
        fields[name] = before.get(name) if given is None else given or None
    settings = params.child("invoice_settings")
    default = settings.text("default_payment_method")
    settings.ignore("custom_fields", "footer", "rendering_options")
    if default:
        method = call.desk.find(
            "payment_method", default, param=settings.name("default_payment_method")
        )
        if method["customer"] != before.get("id"):
            words = "The customer does not have a payment method with the ID " + default
            raise invalid(
                f"{words}. The payment method must be attached to the customer.",
                "invoice_settings[default_payment_method]",
                "resource_missing",
            )
    kept = before.get("invoice_settings", {}).get("default_payment_method")
    fields["invoice_settings"] = {
        "custom_fields": None,
        "default_payment_method": kept if default is None else default or None,
        "footer": None,
        "rendering_options": None,
    }
    fields["metadata"] = params.metadata(before.get("metadata"))
    return fields


ROUTES: Routes = {
    ("POST", "/v1/customers"): create,
    ("GET", "/v1/customers"): list_all,
    ("GET", "/v1/customers/*"): retrieve,
    ("POST", "/v1/customers/*"): update,
    ("DELETE", "/v1/customers/*"): delete,
}
