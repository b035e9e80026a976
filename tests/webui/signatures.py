"""What of the webui's we use, and how it is called there: signatures.json holds the facts, the parameters of each thing by name.

Run as a program it writes the facts anew from the real webui that CHILLY_WEBUI and CHILLY_WEBUI_PYTHON name.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FACTS = HERE / "signatures.json"
PLAIN = ("fields", "categories")
"""Facts that are lists of names, each by the function that asks for it."""
PRODUCT, SUITE = sorted((ROOT / "lib_chilly" / "host").glob("webui*.py")), sorted((HERE / "inside").glob("*.py"))
SOURCES = (*PRODUCT, *SUITE)
"""What runs inside the webui; what the suite does there too, as the double must be right where it is asked."""
BEHIND = {
    "errors": "display",
    "infotext_utils": "ParamBinding PasteField create_buttons parse_generation_parameters registered_param_bindings",
    "processing": "Processed StableDiffusionProcessing.init StableDiffusionProcessing.close StableDiffusionProcessing.comment",
    "script_callbacks": "image_grid_callback",
    "scripts": "PostprocessImageArgs Script.title Script.show Script.ui Script.run Script.before_process Script.postprocess"
    " Script.elem_id Script.postprocess_batch Script.postprocess_image"
    " ScriptRunner.initialize_scripts ScriptRunner.setup_ui ScriptRunner.run ScriptRunner.before_process"
    " ScriptRunner.postprocess",
    "sd_models": "CheckpointInfo.register CheckpointInfo.calculate_shorthash get_closet_checkpoint_match select_checkpoint"
    " get_checkpoint_state_dict get_state_dict_from_checkpoint load_model load_model_weights reuse_model_from_already_loaded"
    " send_model_to_device model_data.set_sd_model model_data.get_sd_model",
    "sd_samplers": "get_sampler_and_scheduler",
    "sd_hijack": "model_hijack.hijack model_hijack.undo_hijack",
    "shared": "state.nextjob state.set_current_image state.assign_current_image",
    "xyz_grid": "AxisOption AxisOptionImg2Img",
}
"""What is used of objects whose kind a source does not say, and what the double does inside as the webui does."""


def names() -> list[str]:
    """Everything that is used, as `module.name`."""
    behind = (f"{module}.{name}" for module, several in BEHIND.items() for name in several.split())
    return sorted({*used(SOURCES), *behind})


def needed() -> set[str]:
    """What the double must have: all but what the suite does in the real one alone."""
    return set(names()) - (used(SUITE) - used(PRODUCT))


def used(paths: Iterable[Path]) -> set[str]:
    """The names that sources take out of the webui's modules, as deep as they say them: `shared.opts.set`."""
    return {name for path in paths for name in _used(ast.parse(path.read_text("utf-8")))}


def _used(tree: ast.Module) -> Iterator[str]:
    within = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    known = {
        alias.asname or alias.name: f"{node.module}.{alias.name}".partition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] == "modules"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in known:
            name, outer = known[node.id], within.get(node)
            while isinstance(outer, ast.Attribute):
                name, outer = f"{name}.{outer.attr}", within.get(outer)
            yield name


def facts() -> dict[str, Any]:
    """`fields`: of the webui's request for a picture; `categories`: of its callbacks; `signatures`: of each name, null where it
    is nothing to call, false where it is not there: other hosts have it."""
    found: dict[str, Any] = json.loads(FACTS.read_text("utf-8"))
    return found


def main() -> None:
    sys.path[:0] = [str(ROOT), str(HERE.parent)]
    from webuis import Webui, webui_python

    with tempfile.TemporaryDirectory() as folder:
        house = Webui(Path(os.environ["CHILLY_WEBUI"]), webui_python(), Path(folder))
        try:
            found = {what: house.call(what) for what in PLAIN} | {"signatures": house.call("signatures", *names())}
        finally:
            house.close()
    rows = [f'    "{name}": {json.dumps(signature)}' for name, signature in found["signatures"].items()]
    plain = [f'  "{what}": {json.dumps(found[what])},' for what in PLAIN]
    lines = ["{", *plain, '  "signatures": {', ",\n".join(rows), "  }", "}"]
    FACTS.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
