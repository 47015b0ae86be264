"""The OpenAI-compatible data plane. Imports kernel and catalog only."""
