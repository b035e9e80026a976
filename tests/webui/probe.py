"""An extension that lets the tests look and act inside the real webui; it is copied there and imported nowhere else."""

import importlib
import sys

from modules import call_queue, extras, patches, script_callbacks, sd_models, shared
from safetensors.torch import load_file

COMPONENTS = ("model.", "first_stage_model.", "cond_stage_model.")
TESTS = "@TESTS@"
_FIRST = "chilly_imported_at_first"


def weights():
    """What the loaded model has of its file: keys that the file lacks, keys that nothing took, keys with other values."""
    with call_queue.queue_lock:
        model = shared.sd_model
        live = {key.replace(".wrapped", ""): tensor for key, tensor in model.state_dict().items()}
        stored = load_file(model.sd_checkpoint_info.filename)
        taken = [key for key in stored if key in live]
        return {
            "title": model.sd_checkpoint_info.title,
            "missing": sorted(key for key in live if key.startswith(COMPONENTS) and key not in stored),
            "unused": sorted(set(stored) - set(live)),
            "other": [key for key in taken if not (live[key].float() == stored[key].float()).all()],
            "taken": len(taken),
        }


def metadata(title: str):
    """What the merger tab's "Read metadata" shows."""
    return {"text": extras.read_metadata(title, "", "")}


def merge(primary: str, secondary: str, multiplier: float, name: str):
    """The merger tab's weighted sum in fp16, with its metadata; what it says."""
    with call_queue.queue_lock:
        method, vae, discard = "Weighted sum", "None", ""
        files = [primary, secondary, ""]
        result = extras.run_modelmerger(
            "probe", *files, method, multiplier, True, name, "safetensors", 0, vae, discard, True, True, True, "{}"
        )
        return {"said": result[-1], "titles": list(sd_models.checkpoints_list)}


def loaded():
    """What of our extension is there, asked without importing any of it; and which model is."""
    with call_queue.queue_lock:
        title = shared.sd_model.sd_checkpoint_info.title
    modules = sorted(name for name in sys.modules if name.partition(".")[0] == "lib_chilly")
    patched = [owner for owner, functions in patches.originals.items() if functions]
    return {"modules": modules, "patched": patched, "title": title, "chosen": shared.opts.data["sd_model_checkpoint"]}


def inside(asked: dict):
    """A function of inside/."""
    return of_tests("inside").call(asked["name"], asked["args"], asked["given"])


def of_tests(name: str):
    """A module of the tests; the webui takes back what a script does to the path while it is loaded."""
    if TESTS not in sys.path:
        sys.path.append(TESTS)
    return importlib.import_module(name)


def imported():
    """What of ours was imported when the webui had started, and nobody had used anything of it."""
    return {"imported": getattr(sys, _FIRST)}


def add_routes(_, app):
    if not hasattr(sys, _FIRST):  # Reload UI runs this again, when all was used
        setattr(
            sys, _FIRST, sorted(name for name in sys.modules if name.startswith("lib_chilly"))
        )  # the webui itself imports lark
    for function in (weights, metadata, merge, imported, loaded):
        app.add_api_route(f"/probe/{function.__name__}", function, methods=["GET"])
    app.add_api_route("/probe/inside", inside, methods=["POST"])


of_tests("first_model").hold()
script_callbacks.on_app_started(add_routes)
