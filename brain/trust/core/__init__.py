"""Pure decisions of trust: scores, windows, checks."""
