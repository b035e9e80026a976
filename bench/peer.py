"""One merge of two files by another program, in a process of its own: 0.7 A + 0.3 B in fp16.

Prints one JSON object: wall and CPU seconds and bytes without the imports, memory above a Python that has imported torch.
No code of these programs stands here; they are called as their own pages say.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from bench.counters import counters, since

ALPHA = 0.3
Merge = Callable[[Path, Path, Path], None]
"""(A, B, output); what it takes to make it is not counted, what it does is."""


def plain() -> Merge:
    """safetensors and torch as most scripts use them: load both, lerp, save. Nothing waits for the disk."""
    from safetensors.torch import load_file, save_file

    def merge(first: Path, second: Path, output: Path) -> None:
        ours, theirs = load_file(first), load_file(second)
        for key, tensor in ours.items():
            if tensor.is_floating_point():
                ours[key] = torch.lerp(tensor.float(), theirs[key].float(), ALPHA).half()
        save_file(ours, output, metadata={"format": "pt"})

    return merge


def sd_mecha() -> Merge:
    import sd_mecha

    def merge(first: Path, second: Path, output: Path) -> None:
        recipe = sd_mecha.weighted_sum(sd_mecha.model(first), sd_mecha.model(second), alpha=ALPHA)
        sd_mecha.merge(recipe, output=output, output_dtype=torch.float16)

    return merge


def mergekit() -> Merge:
    """Its mode for any state dict, `mergekit-pytorch`; it writes a folder."""
    from mergekit.graph import Executor
    from mergekit.options import MergeOptions
    from mergekit.scripts.merge_raw_pytorch import RawPyTorchMergeConfig, plan_flat_merge

    def merge(first: Path, second: Path, output: Path) -> None:
        models = [
            {"model": str(path), "parameters": {"weight": weight}} for path, weight in ((first, 1 - ALPHA), (second, ALPHA))
        ]
        config = RawPyTorchMergeConfig.model_validate({"merge_method": "linear", "models": models, "dtype": "float16"})
        with tempfile.TemporaryDirectory(dir=output.parent) as folder:
            options = MergeOptions()
            tasks = plan_flat_merge(config, folder, tensor_union=False, tensor_intersection=False, options=options)
            Executor(tasks, math_device="cpu", storage_device="cpu").execute()

    return merge


def webui() -> Merge:
    """The merger tab of the webui whose checkout CHILLY_WEBUI names, without its page; without the recipe that hashes sources."""
    checkout = os.environ["CHILLY_WEBUI"]
    os.environ["COMMANDLINE_ARGS"] = ""  # the user's own start would change what is measured
    os.chdir(checkout)
    sys.path.insert(0, checkout)
    data = tempfile.TemporaryDirectory()
    sys.argv = ["launch.py", "--skip-torch-cuda-test", "--use-cpu", "all", "--no-half", "--data-dir", data.name]
    from modules import initialize

    initialize.imports()
    from modules import extras, sd_models, shared

    def merge(first: Path, second: Path, output: Path) -> None:
        shared.cmd_opts.ckpt_dir = str(output.parent)
        sd_models.list_models()
        models = [first.name, second.name, ""]
        method, recipe = ("Weighted sum", ALPHA, True, output.stem, "safetensors", 0, "None", ""), (True, False, True, "{}")
        said = extras.run_modelmerger("bench", *models, *method, *recipe)[-1]
        data.cleanup()
        if not output.exists():
            raise RuntimeError(said)

    return merge


PEERS: dict[str, Callable[[], Merge]] = {"plain": plain, "sd-mecha": sd_mecha, "mergekit": mergekit, "webui": webui}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    torch.zeros(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    paths = [path.resolve() for path in (options.first, options.second, options.output)]
    merge = PEERS[options.peer]()
    started = counters()
    merge(*paths)
    taken = since(started)
    above = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    paths[-1].unlink(missing_ok=True)
    print(json.dumps({**taken, "rss_above_torch": above}))


if __name__ == "__main__":
    main()
