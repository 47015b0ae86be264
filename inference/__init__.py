"""The OpenAI-compatible data plane: admits, routes, meters; imports kernel and catalog only."""
