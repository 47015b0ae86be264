"""Emulated clouds: one small world under each, and the APIs of real clouds in front of it."""
