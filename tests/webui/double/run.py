"""The double as a process: starts as the webui does, then answers one call a line. Arguments: the extension's folder; behind it
`forge` to be like one."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from pathlib import Path

HERE = Path(__file__).parent


def run_entry(extension: Path) -> None:
    """Run the webui's own script of grids, then the extension's."""
    from modules import scripts

    own = (str(HERE / "scripts" / "xyz_grid.py"), str(HERE))
    scripts.load_scripts([own, (str(extension / "scripts" / "chillymerge.py"), str(extension))])


def build_page() -> None:
    """Ask the extension for all that belongs to the page, as the webui does before anybody sees it."""
    from fastapi import FastAPI
    from modules import script_callbacks

    script_callbacks.ui_settings_callback()
    script_callbacks.before_ui_callback()
    tabs = script_callbacks.ui_tabs_callback()
    assert [title for _, title, _ in tabs] == ["ChillyMerge"]
    script_callbacks.app_started_callback(object(), FastAPI())


def imported() -> list[str]:
    """What of ours, or of what we need, is."""
    return sorted(name for name in sys.modules if name.startswith(("lib_chilly", "lark", "gradio")))


def main() -> None:
    out, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, str(HERE))
    import torch
    from modules import sd_models, sd_vae, shared

    torch.set_num_threads(1)
    if is_forge := sys.argv[2:] == ["forge"]:
        sys.path.insert(0, str(HERE / "forge"))
        importlib.import_module("as_forge")
    sd_models.list_models()
    run_entry(Path(sys.argv[1]))
    start = {"imported": imported()}
    build_page()
    start["imported_for_page"] = imported()
    sd_vae.refresh_vae_list()
    sys.path.insert(0, str(HERE.parent))
    if not is_forge:
        importlib.import_module("first_model").hold()
        threading.Thread(target=lambda: shared.sd_model, daemon=True).start()
    print(json.dumps({"answer": start}), file=out, flush=True)
    import inside

    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(inside.call(asked["name"], asked["args"], asked["given"])), file=out, flush=True)


main()
