"""The platform's own account: owner of the shared pool, seeded by the migration."""

from kernel.ids import AccountId

PLATFORM_ACCOUNT = AccountId("acct_" + "0" * 31 + "1")
