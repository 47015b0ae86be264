"""The front of pods: their ports by name over HTTP, and SSH into them (docs/pods-access.md).

It runs as a process of its own, ``python -m inference.pods``, and reaches pods over links alone.
"""
