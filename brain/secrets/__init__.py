"""Secrets: sealed values of accounts, and what one lease is given of them.

The door. ``Vault.opened`` and ``Vault.give`` join the transaction of a claim; ``Vault.of_lease`` is
for the node that holds the lease, and ``forget`` ends it.
"""

from brain.secrets.core import NAME_PATTERN, NAMES_MAX, MissingSecret, check_names
from brain.secrets.service import LeaseSecrets, Vault, forget

__all__ = [
    "NAMES_MAX",
    "NAME_PATTERN",
    "LeaseSecrets",
    "MissingSecret",
    "Vault",
    "check_names",
    "forget",
]
