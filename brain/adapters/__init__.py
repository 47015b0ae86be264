"""The outside world, one folder each: what stands behind the rooms' ports."""
