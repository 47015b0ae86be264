"""The OpenAI-compatible data plane: admits, routes, meters; imports kernel and catalog only."""

from inference.lean import load_structlog

load_structlog()
