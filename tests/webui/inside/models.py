"""The files in the webui's folder: made, changed, saved and chosen."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from pathlib import Path

from modules import (
    hashes,
    sd_models,
    shared,
)
from samples import MIX

from inside.pictures import forget_merge
from inside.state import host, plan, state, title_file, title_of
from lib_chilly.host import webui_entry, webui_kept
from lib_chilly.ui.work import SAVES, Work


def touch(name):
    os.utime(title_file(name), ns=(1_700_000_000_000_000_000, 1_700_000_000_000_000_000))
    host().refresh_checkpoints()


def refresh():
    sd_models.list_models()
    return {"listed": sd_models.checkpoint_tiles(), **state()}


def choose(name):
    shared.opts.set("sd_model_checkpoint", title_of(name))
    return state()


def start_with(title):
    """What is chosen after a start with settings that name `title`; nothing is in memory then."""
    forget_merge()
    shared.opts.data["sd_model_checkpoint"] = title
    sd_models.list_models()
    webui_entry.register()
    return {"chosen": shared.opts.data["sd_model_checkpoint"], "ours": webui_kept.is_ours(title)}


def saved_title():
    return json.loads(Path(shared.config_filename).read_text())["sd_model_checkpoint"]


def remove(name):
    for path in host().output_folder().glob(f"{name}.*"):
        path.unlink()
    host().refresh_checkpoints()


@contextlib.contextmanager
def read_for_hashes():
    """The files that the webui reads for their hashes meanwhile."""
    read, originals = [], {each: getattr(hashes, each, None) for each in ("calculate_sha256", "calculate_sha256_real")}
    for each in originals:
        setattr(hashes, each, lambda path: read.append(path) or "0" * 64)
    try:
        yield read
    finally:
        for each, original in originals.items():
            setattr(hashes, each, original)


def save(name, recipe=MIX):
    """Save as the page does; what the webui knows of the file then."""
    from lib_chilly.engine import merge

    output = host().output_folder() / f"{name}.safetensors"
    report = merge(plan(recipe), output, overwrite=True)
    host().register_saved(output, report.sha256)
    read = calculated(name)["read"]
    titles = [title for title in sd_models.checkpoint_tiles() if title.startswith(name)]
    return {"sha256": report.sha256, "titles": titles, "read": read, "loaded": host().load(output), **state()}


def calculated(name):
    """The hash of a model as the webui has it, and which files it reads for that."""
    with read_for_hashes() as read:
        info = next(info for info in sd_models.checkpoints_list.values() if info.name == f"{name}.safetensors")
        info.calculate_shorthash()
    return {"sha256": info.sha256, "read": read}


def cut(name, other):
    """A copy of a model whose last bytes are missing."""
    folder = host().output_folder()
    (folder / f"{other}.safetensors").write_bytes((folder / f"{name}.safetensors").read_bytes()[:-4])
    host().refresh_checkpoints()


_saves_may_go = threading.Event()


def hold_saves():
    """Let whatever is to be saved wait until `let_saves_go`."""
    _saves_may_go.clear()
    work = webui_entry.room().one(Work, Work)
    work.start("/holding", "hold", lambda job: _saves_may_go.wait(100) and None, thread=SAVES)


def let_saves_go():
    _saves_may_go.set()


def copy_model(name, other):
    for suffix in (".safetensors", ".yaml"):
        source = Path(title_file(name)).with_suffix(suffix)
        if source.exists():
            shutil.copy(source, source.with_name(other + suffix))
    host().refresh_checkpoints()
    return [reference.name for reference in host().checkpoints()]


def spoil(name, other):
    """A copy of a model with a value that is no number, which is found while it is merged."""
    from safetensors.torch import load_file, save_file

    copy_model(name, other)
    path = Path(title_file(name)).with_name(f"{other}.safetensors")
    tensors = load_file(path)
    next(tensor for key, tensor in sorted(tensors.items()) if key.startswith("model.diffusion_model.")).view(-1)[0] = float("nan")
    save_file(tensors, path)
    host().refresh_checkpoints()
