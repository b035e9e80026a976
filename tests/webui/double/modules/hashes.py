"""sha256 of files, kept by title and time."""

import hashlib
import os
from pathlib import Path

from modules import shared
from modules.cache import cache


def calculate_sha256(filename):
    return hashlib.sha256(Path(filename).read_bytes()).hexdigest()


def sha256_from_cache(filename, title, use_addnet_hash=False):
    entry = cache("hashes").get(title)
    if entry is None or not os.path.exists(filename) or os.path.getmtime(filename) > entry.get("mtime", 0):
        return None
    return entry.get("sha256")


def sha256(filename, title, use_addnet_hash=False):
    known = sha256_from_cache(filename, title)
    if known is not None or shared.cmd_opts.no_hashing:
        return known
    digest = calculate_sha256(filename)
    cache("hashes")[title] = {"mtime": os.path.getmtime(filename), "sha256": digest}
    return digest
