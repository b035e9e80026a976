"""Schedules that go with a sampler."""

from types import SimpleNamespace

schedulers = [SimpleNamespace(label=label) for label in ("Automatic", "Karras", "Exponential")]
