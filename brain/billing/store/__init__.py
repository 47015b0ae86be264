"""All SQL of billing. Locks are taken in one order: lease, balances by name, holds, segments."""
