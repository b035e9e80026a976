"""The double as a process: starts as the webui does, then answers one call a line. Arguments: the extension's folder."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent


def run_entry(extension: Path) -> float:
    """Run the extension's script as the webui does: by its path, under a name with a dot, its folder importable meanwhile."""
    started, before = time.perf_counter(), sys.path
    sys.path = [str(extension), *sys.path]
    try:
        path = extension / "scripts" / "chillymerge.py"
        spec = importlib.util.spec_from_file_location(path.name, path)
        assert spec is not None and spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    finally:
        sys.path = before
    return time.perf_counter() - started


def main() -> None:
    out, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, str(HERE))
    import torch
    from modules import sd_models, sd_vae, shared

    torch.set_num_threads(1)
    sd_models.list_models()
    seconds = run_entry(Path(sys.argv[1]))
    ours = sorted(name for name in sys.modules if name.startswith(("lib_chilly", "lark", "gradio")))
    sd_vae.refresh_vae_list()
    threading.Thread(target=lambda: shared.sd_model, daemon=True).start()
    print(json.dumps({"answer": {"seconds": seconds, "imported": ours}}), file=out, flush=True)
    sys.path.insert(0, str(HERE.parent))
    import inside

    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(inside.call(asked["name"], asked["args"], asked["given"])), file=out, flush=True)


main()
