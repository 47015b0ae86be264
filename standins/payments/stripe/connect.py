"""Connected accounts: made, onboarded on a page, restricted; their capabilities."""

from __future__ import annotations

from standins.payments.stripe.book import Desk, Thing
from standins.payments.stripe.call import Call, Routes
from standins.payments.stripe.forms import Params
from standins.payments.stripe.refusals import invalid, no_such

DUE = ["business_profile.url", "external_account", "individual.dob.day", "tos_acceptance.date"]
LINK_SECONDS = 300
CAPABILITIES = ("transfers", "card_payments")
TEST_BANKS = {"000111111116": "no_account", "000111111113": "account_closed"}
INTERVALS = ("manual", "daily", "weekly", "monthly")


def create(call: Call) -> Thing:
    params = call.params
    kind = params.one_of("type", ("express", "standard", "custom"))
    controller = params.any("controller")
    if kind and controller:
        raise invalid("You may not provide the `type` parameter and `controller` together.", "type")
    country = params.text("country") or "US"
    email, metadata = params.text("email"), params.metadata()
    business = params.one_of("business_type", ("individual", "company", "non_profit"))
    asked = _capabilities(params)
    interval = _interval(params) or "daily"
    params.ignore("business_profile", "individual", "tos_acceptance", "company", "default_currency")
    params.done()
    return call.book.platform.make(
        "account",
        "acct",
        business_type=business,
        capabilities=dict.fromkeys(asked, "inactive"),
        charges_enabled=False,
        controller=controller or {"type": "application", "is_controller": True},
        country=country,
        default_currency="usd",
        details_submitted=False,
        email=email,
        external_accounts={
            "object": "list",
            "data": [],
            "has_more": False,
            "url": "/v1/accounts/external_accounts",
        },
        future_requirements={"currently_due": [], "disabled_reason": None},
        metadata=metadata,
        payouts_enabled=False,
        requirements=_requirements(DUE, "requirements.past_due"),
        settings={"payouts": {"schedule": {"interval": interval, "delay_days": 2}}},
        type=kind or "none",
    )


def _capabilities(params: Params) -> list[str]:
    asked = []
    capabilities = params.child("capabilities")
    for name in CAPABILITIES:
        if capabilities.child(name).flag("requested"):
            asked.append(name)
    return asked


def _interval(params: Params) -> str | None:
    settings = params.child("settings")
    settings.ignore("branding", "card_payments", "dashboard", "payments")
    payouts = settings.child("payouts")
    payouts.ignore("statement_descriptor", "debit_negative_balances")
    schedule = payouts.child("schedule")
    schedule.ignore("delay_days", "weekly_anchor", "monthly_anchor")
    return schedule.one_of("interval", INTERVALS)


def _requirements(due: list[str], reason: str | None) -> Thing:
    return {
        "alternatives": [],
        "current_deadline": None,
        "currently_due": list(due),
        "disabled_reason": reason,
        "errors": [],
        "eventually_due": list(due),
        "past_due": list(due) if reason else [],
        "pending_verification": [],
    }


def update(call: Call) -> Thing:
    account = call.book.platform.find("account", call.ids[0])
    params = call.params
    metadata, email = params.metadata(account["metadata"]), params.text("email")
    asked, interval = _capabilities(params), _interval(params)
    params.ignore("business_profile", "individual", "tos_acceptance", "company")
    params.done()
    account |= {"metadata": metadata, "email": email or account["email"]}
    for name in asked:
        ready = "active" if account["details_submitted"] else "inactive"
        account["capabilities"].setdefault(name, ready)
    if interval:
        account["settings"]["payouts"]["schedule"]["interval"] = interval
    _updated(call.desk, account)
    return account


def onboard(desk: Desk, account: Thing, *, bank: str = "000123456789") -> None:
    """What the account's owner does on the page: all that is asked is told."""
    own = desk.book.desk(account["id"])
    if not account["external_accounts"]["data"]:
        row = own.make(
            "bank_account",
            "ba",
            account=account["id"],
            bank_name="STAND-IN TEST BANK",
            country=account["country"],
            currency=account["default_currency"],
            default_for_currency=True,
            last4=bank[-4:],
            status="new",
        )
        account["external_accounts"]["data"].append(row)
        desk.book.banks[account["id"]] = bank
    account |= {
        "charges_enabled": "card_payments" in account["capabilities"],
        "details_submitted": True,
        "payouts_enabled": True,
        "requirements": _requirements([], None),
    }
    for name in account["capabilities"]:
        account["capabilities"][name] = "active"
    _updated(desk, account)


def restrict(desk: Desk, account: Thing, reason: str, due: list[str]) -> None:
    """The processor asks for more, or closes the account."""
    account["requirements"] = _requirements(due, reason)
    account |= {"payouts_enabled": False, "charges_enabled": False}
    for name in account["capabilities"]:
        account["capabilities"][name] = "inactive"
    _updated(desk, account)


def _updated(desk: Desk, account: Thing) -> None:
    desk.book.desk(account["id"]).emit("account.updated", account, {})


def retrieve_own(call: Call) -> Thing:
    """The account of ``Stripe-Account``, or the platform's."""
    call.params.done()
    if call.desk.account:
        return call.book.platform.find("account", call.desk.account)
    return {
        "id": "acct_standinplatform",
        "object": "account",
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "payouts_enabled": True,
        "type": "standard",
    }


def retrieve(call: Call) -> Thing:
    call.params.done()
    return call.book.platform.find("account", call.ids[0])


def delete(call: Call) -> Thing:
    call.params.done()
    account = call.book.platform.find("account", call.ids[0])
    del call.book.platform.table("account")[account["id"]]
    return {"id": account["id"], "object": "account", "deleted": True}


def list_all(call: Call) -> Thing:
    return call.page("account", call.book.platform.table("account").values())


def link(call: Call) -> Thing:
    params = call.params
    wanted = params.must("account")
    kind = params.one_of("type", ("account_onboarding", "account_update"))
    refresh, back = params.text("refresh_url"), params.text("return_url")
    params.ignore("collection_options", "collect")
    params.done()
    if kind is None:
        raise invalid("Missing required param: type.", "type", "parameter_missing")
    if not refresh or not back:
        raise invalid("refresh_url and return_url are needed.", "return_url", "parameter_missing")
    if wanted not in call.book.platform.table("account"):
        raise no_such("account", wanted, param="account")
    return {
        "object": "account_link",
        "created": call.desk.now,
        "expires_at": call.desk.now + LINK_SECONDS,
        "url": f"{call.book.url}/_stand-in/pages/onboard/{wanted}",
    }


ROUTES: Routes = {
    ("POST", "/v1/accounts"): create,
    ("GET", "/v1/accounts"): list_all,
    ("GET", "/v1/account"): retrieve_own,
    ("GET", "/v1/accounts/*"): retrieve,
    ("POST", "/v1/accounts/*"): update,
    ("DELETE", "/v1/accounts/*"): delete,
    ("POST", "/v1/account_links"): link,
}
