"""All SQL of trust."""
