"""Files in folders."""

import os


def load_models(
    model_path, model_url=None, command_path=None, ext_filter=None, download_name=None, ext_blacklist=None, hash_prefix=None
):
    found = {}
    for folder in dict.fromkeys(place for place in (command_path, model_path) if place and os.path.exists(place)):
        for parent, _, names in sorted(os.walk(folder, followlinks=True)):
            for name in sorted(names):
                if name.endswith(tuple(ext_filter)) and not name.endswith(tuple(ext_blacklist)):
                    found[os.path.join(parent, name)] = None
    return list(found)
