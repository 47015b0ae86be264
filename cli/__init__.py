"""The `ganglion` command and the supervisor of `ganglion up`."""
