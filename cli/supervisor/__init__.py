"""The supervisor of ``ganglion up``: the whole product on one machine as its children."""
