"""Functions that extensions have replaced."""

from collections import defaultdict

originals = defaultdict(dict)


def patch(key, obj, field, replacement):
    if (obj, field) in originals[key]:
        raise RuntimeError(f"{field} is patched already")
    found = originals[key][(obj, field)] = getattr(obj, field)
    setattr(obj, field, replacement)
    return found


def undo(key, obj, field):
    if (obj, field) not in originals[key]:
        raise RuntimeError(f"{field} is not patched")
    setattr(obj, field, originals[key].pop((obj, field)))


def original(key, obj, field):
    return originals[key].get((obj, field))
