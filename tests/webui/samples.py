"""What the tests merge, draw and compare, inside a webui and outside of it."""

MIX, OTHER = (f"{name} = weighted_sum(A, B, alpha={alpha})" for name, alpha in (("M", 0.3), ("N", 0.7)))
SMALL = {"prompt": "(a red circle:1.6) on blue", "seed": 1, "steps": 3, "cfg": 4.0, "width": 64, "height": 64, "sampler": "Euler"}
ALPHAS = ["[ChillyMerge] alpha", "0.3, 0.7"]
"""An axis."""
OF_USERS = ("chosen", "hash", "config", "queue", "flags", "hooked")
"""What of a webui's state must be afterwards as before."""


def of_users(state: dict) -> dict:
    return {name: state[name] for name in OF_USERS}
