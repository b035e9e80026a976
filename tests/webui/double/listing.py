"""The checkpoints that the webui lists, as its sd_models has them."""

import json
import os
import sys
from operator import attrgetter
from pathlib import Path

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
        self.metadata = self._metadata() if self.is_safetensors else {}
        self.hash = "e3b0c442"
        self.sha256 = hashes.sha256_from_cache(filename, f"checkpoint/{self.name}")
        self._name_all()

    def _metadata(self):
        try:
            return read_metadata_from_safetensors(self.filename)
        except Exception as error:  # whatever is wrong with a file, the list has it
            errors.display(error, f"metadata of {self.filename}")
            return {}

    def _name_all(self):
        self.shorthash = self.sha256[:10] if self.sha256 else None
        behind = f" [{self.shorthash}]" if self.shorthash else ""
        self.title, self.short_title = self.name + behind, self.name_for_extra + behind
        self.ids = [self.hash, self.model_name, self.title, self.name, self.name_for_extra]
        self.ids += [self.shorthash, self.sha256] if self.sha256 else []

    def register(self):
        checkpoints_list.update({self.title: self})
        checkpoint_aliases.update(dict.fromkeys(self.ids, self))

    def calculate_shorthash(self):
        self.sha256 = hashes.sha256(self.filename, f"checkpoint/{self.name}")
        if self.sha256 is not None and self.shorthash is None:
            checkpoints_list.pop(self.title, None)
            self._name_all()
            self.register()
        return self.shorthash


def read_metadata_from_safetensors(filename):
    """What a file says of itself; a value that begins like an object of JSON is read as one."""
    data = Path(filename).read_bytes()
    size = int.from_bytes(data[:8], "little")
    if not data[8:].startswith(b'{"'):
        raise AssertionError("the header is none")
    said = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    return {name: json.loads(value) if value[:1] == "{" else value for name, value in said.items()}


def checkpoint_tiles(use_short=False):
    return list(map(attrgetter("short_title" if use_short else "title"), checkpoints_list.values()))


def get_closet_checkpoint_match(search_string):
    """By a name, else by a part of a title, with the hash behind it or without: the shortest title wins."""
    if known := checkpoint_aliases.get(search_string):
        return known
    said = search_string or ""
    for wanted in filter(None, (said, said.rpartition(" [")[0])):
        if found := [title for title in checkpoints_list if wanted in title]:
            return checkpoints_list[min(found, key=len)]
    return None


def select_checkpoint():
    """The model of the settings; where that is not there, the first of the list, and a line on the console."""
    known = checkpoint_aliases.get(shared.opts.sd_model_checkpoint)
    if known is None:
        known = next(iter(checkpoints_list.values()), None)
        if known is None:
            raise FileNotFoundError("there is no model")
        print(f"{shared.opts.sd_model_checkpoint} is not there; {known.name} is taken", file=sys.stderr)
    return known
