"""Emulators of what cannot be had on a desk; honest in name, with faults on demand."""
