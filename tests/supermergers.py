"""Comparisons with SuperMerger's own functions run where a checkout is named."""

from __future__ import annotations

import os

import pytest

NEEDED = pytest.mark.skipif(
    "CHILLY_SUPERMERGER" not in os.environ, reason="compares with peers: CHILLY_SUPERMERGER names a checkout"
)
