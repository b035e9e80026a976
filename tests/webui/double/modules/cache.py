"""Caches, in memory."""

caches = {}


def cache(subsection):
    return caches.setdefault(subsection, {})
