"""Coinbase Business Checkouts, emulated; ``ganglion stand-in coinbase``."""
