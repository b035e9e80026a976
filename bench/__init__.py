"""Measurements: our merge against the copy floor, in one interleaved run."""
