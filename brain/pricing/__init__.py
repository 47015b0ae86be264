"""The room of prices: services and packages of credits, as dated rows. This is its door."""

from brain.pricing.core import Judged, Margin, Package, Quote, ServicePrice, Unit, package_of
from brain.pricing.service import below_cost, quoted
from brain.pricing.store import packages, prices

__all__ = [
    "Judged",
    "Margin",
    "Package",
    "Quote",
    "ServicePrice",
    "Unit",
    "below_cost",
    "package_of",
    "packages",
    "prices",
    "quoted",
]
