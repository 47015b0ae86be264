"""Emulated payment processors, each accepted by its own unmodified client."""
