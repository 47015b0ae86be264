"""Processors of payments, one folder each, behind the ports of payments and payouts."""
