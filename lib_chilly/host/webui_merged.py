"""A merge in memory under a title of its own, which the webui loads as it loads a file.

Two functions of the webui are replaced through its own `modules.patches`, so that it finds the weights of our titles and keeps
the titles when it lists its files anew. For everything else both do what they did.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import call_queue, hashes, modelloader, patches, sd_models, shared

from ..errors import MergeError

if TYPE_CHECKING:
    import torch

    from ..plan import Plan

MARK = "recipe-"
"""How the hash of a merge in memory begins: it is that of a recipe, not of a file."""
_OWNER = "chillymerge"
_SHORT = 10
_LONGEST_NAME = 80
CHOSEN = "sd_model_checkpoint"
"""The setting that says which model is loaded."""


class MergedInfo(sd_models.CheckpointInfo):
    """What the webui knows of a merge in memory. Every merge has an object of its own, and every recipe a path of its own:
    by these the webui tells models, and their prompts, apart.

    Args:
        name: shown where a file's name is shown.
        digest: of all that the weights follow from, in hex.
        beside: a path without suffix; the webui takes the .yaml that lies there for the model's.

    Attributes:
        is_listed: whether it stands among the models that the user may choose.
    """

    def __init__(self, name: str, digest: str, beside: Path):
        self.filename = f"{beside}.chilly-{digest[:16]}"
        self.name = self.name_for_extra = self.model_name = name
        self.hash: str | None = None
        self.sha256 = f"{MARK}{digest}"
        self.shorthash = f"{MARK}{digest[:_SHORT]}"
        self.title = self.short_title = f"{name} [{self.shorthash}]"
        self.ids = [self.title, self.shorthash, self.sha256]
        self.metadata: dict[str, Any] = {}
        self.modelspec_thumbnail = None
        self.is_safetensors = self.is_listed = False

    def register(self) -> None:
        """Let the webui find it by its title and its hash."""
        if self.is_listed:
            sd_models.checkpoints_list[self.title] = self
        for each in self.ids:
            sd_models.checkpoint_aliases[each] = self

    def calculate_shorthash(self) -> str:
        return self.shorthash


_held: dict[MergedInfo, Mapping[str, torch.Tensor]] = {}
_originals: dict[str, Any] = {}


def _nobody_asks() -> None:
    """Until somebody has a list of their own."""


_when_listed: Callable[[], object] = _nobody_asks


def install() -> None:
    """Replace the two functions; done before the webui draws its page, whose buttons keep what they find."""
    for function in (get_checkpoint_state_dict, list_models):
        name = function.__name__
        if name not in _originals:
            _originals[name] = patches.patch(_OWNER, sd_models, name, function)


def uninstall() -> None:
    """Let go of every merge, and put the webui's functions back where nobody else has replaced ours."""
    for info in list(_held):
        forget(info)
    for function in (get_checkpoint_state_dict, list_models):
        name = function.__name__
        if name in _originals and getattr(sd_models, name) is function:
            patches.undo(_OWNER, sd_models, name)
            del _originals[name]


def hold(info: MergedInfo, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give the webui a merge.

    Args:
        tensors: all of the model: the webui keeps what the model before had for a key that is missing.
    """
    _held[info] = tensors
    info.register()


def forget(info: MergedInfo) -> None:
    """Take a merge back. It may be the loaded model still; the webui loads another one as soon as it needs one."""
    if _held.pop(info, None) is None:
        return
    for table, name in [(sd_models.checkpoint_aliases, each) for each in info.ids] + [(sd_models.checkpoints_list, info.title)]:
        if table.get(name) is info:
            del table[name]
    sd_models.checkpoints_loaded.pop(info, None)  # the webui's own cache, where the user has switched it on


def held() -> tuple[MergedInfo, ...]:
    """The merges that the webui can load now."""
    return tuple(_held)


def get_checkpoint_state_dict(checkpoint_info: Any, timer: Any) -> Any:
    """The webui's function; of our merges a table of its own each time, since loaders empty what they are given."""
    if not isinstance(checkpoint_info, MergedInfo):
        return _originals["get_checkpoint_state_dict"](checkpoint_info, timer)
    tensors = _held.get(checkpoint_info)
    if tensors is None:
        raise MergeError(f"the merge '{checkpoint_info.title}' is no longer in memory. Make its picture again.")
    timer.record("take the merge")
    return sd_models.get_state_dict_from_checkpoint(dict(tensors))


def list_models() -> None:
    """The webui's function; it forgets what is no file, and with --ckpt what was chosen. It empties the list before it fills it:
    a picture that is begun meanwhile would be made with the first model that there is. So others wait while it works, and amid
    a picture it is left alone where no file has come, gone or changed."""
    is_idle = call_queue.queue_lock.acquire(False)
    try:
        if is_idle or not _is_as_on_the_disk():
            _make_list(_originals["list_models"])
    finally:
        if is_idle:
            call_queue.queue_lock.release()
    _when_listed()


def list_anew() -> None:
    """Make the webui's list anew, whether something is at work or not, as those have it who replaced the function after us; our
    titles stay in it."""
    newest = sd_models.list_models
    _make_list(_originals["list_models"] if newest is list_models else newest)


def _make_list(list_files: Callable[[], object]) -> None:
    chosen = shared.opts.data.get(CHOSEN)
    list_files()
    if any(chosen == info.title for info in _held):
        shared.opts.data[CHOSEN] = chosen
    for info in _held:
        info.register()


def when_listed(do: Callable[[], object]) -> None:
    """Call this, and nothing that was named before, each time that the webui lists its models."""
    global _when_listed
    _when_listed = do


def _is_as_on_the_disk() -> bool:
    """Whether the webui lists the files that are there, as it would list them anew."""
    files = modelloader.load_models(
        model_path=sd_models.model_path,
        command_path=getattr(shared.cmd_opts, "ckpt_dir", None),
        ext_filter=[".ckpt", ".safetensors"],
        ext_blacklist=[".vae.ckpt", ".vae.safetensors"],
    )
    paths = {Path(file).resolve() for file in (*files, getattr(shared.cmd_opts, "ckpt", None) or "") if Path(file).is_file()}
    infos = [info for info in list(sd_models.checkpoints_list.values()) if not isinstance(info, MergedInfo)]
    hashed = ((info.sha256, hashes.sha256_from_cache(info.filename, f"checkpoint/{info.name}")) for info in infos)
    return paths == {Path(info.filename).resolve() for info in infos} and all(known == now for known, now in hashed)


def identity(plan: Plan) -> str:
    """The same in hex for results with the same weights: from the recipe, what says that the sources are the same files, and
    the number of the arithmetic. Paths are in it, as two plain models may have the same size, time and header."""
    from ..plan import MATHS

    facts = [
        (str(stored.path.resolve()), stored.size_bytes, stored.mtime_ns, source.checkpoint.header_digest)
        for source in plan.sources
        for stored in source.checkpoint.files
    ]
    return hashlib.sha256(repr((plan.recipe.canonical(), facts, MATHS)).encode()).hexdigest()


def info_of(plan: Plan) -> MergedInfo:
    """A new object for a plan's result. Its .yaml is the one that would be copied beside the file."""
    digest = identity(plan)
    said = plan.recipe.option("title") or (plan.sources[0].name if len(plan.sources) == 1 else plan.recipe.result)
    name = re.sub(r"[^\w .+-]+", "-", said)[:_LONGEST_NAME].strip(" .-") or "merge"
    if plan.sidecar is not None:
        return MergedInfo(name, digest, plan.sidecar.path.with_suffix(""))
    return MergedInfo(name, digest, plan.sources[0].checkpoint.path.parent / f"chillymerge-{digest[:16]}")
