"""Model templates: data first, with the pure fit and launch engines."""
