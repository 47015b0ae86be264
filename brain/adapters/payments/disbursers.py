"""Those who pay providers, as far as the settings name an account with them."""

from __future__ import annotations

from brain.adapters.payments.momo import MomoDisburser, MomoHttp, MomoSettings
from brain.adapters.payments.settings import PaymentSettings
from brain.payouts import Disbursers
from kernel.clock import Clock


def open_disbursers(
    settings: PaymentSettings, momo: MomoSettings, clock: Clock, *, public_url: str
) -> Disbursers:
    """Each of them whose keys are set."""
    made = Disbursers()
    if settings.stripe_api_key is not None:
        from brain.adapters.payments.stripe.api import Api  # a second of imports
        from brain.adapters.payments.stripe.connect import StripeConnect

        api = Api(settings.stripe_api_key.get_secret_value(), settings.stripe_api_base)
        connect = StripeConnect(api, public_url)
        made.pay["stripe"] = connect
        made.onboard["stripe"] = connect
    account = momo.momo_account("disbursement")
    if account is not None:
        made.pay["momo"] = MomoDisburser(MomoHttp(account, clock))
    return made
