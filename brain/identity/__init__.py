"""Who is who: accounts, users, access tokens, API keys, and what each may do."""

from brain.edge import gateway_link
from brain.identity.core import Principal, Role, Scope
from brain.identity.passwords import Passwords
from brain.identity.platform import PLATFORM_ACCOUNT
from brain.identity.ports import CreditGate
from brain.identity.principal import (
    Identity,
    account_user,
    admin_user,
    anyone,
    service_key,
)
from brain.identity.service import NewUser, Registered, ensure_admin, register
from brain.identity.store import (
    account_by_email,
    account_exists,
    addresses_of,
    all_key_rows,
    key_of_account,
    key_row,
)
from brain.identity.tokens import Tokens

__all__ = [
    "PLATFORM_ACCOUNT",
    "CreditGate",
    "Identity",
    "NewUser",
    "Passwords",
    "Principal",
    "Registered",
    "Role",
    "Scope",
    "Tokens",
    "account_by_email",
    "account_exists",
    "account_user",
    "addresses_of",
    "admin_user",
    "all_key_rows",
    "anyone",
    "ensure_admin",
    "gateway_link",
    "key_of_account",
    "key_row",
    "register",
    "service_key",
]
