"""Run by the webui at each start: ChillyMerge needs nothing that the webui does not have, so nothing is installed."""

import importlib.util

for package in ("torch", "safetensors", "numpy", "lark"):
    if importlib.util.find_spec(package) is None:
        print(f"ChillyMerge needs the package {package}, which this webui's Python lacks.")
