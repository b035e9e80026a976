"""Which file or diffusers folder a model's name means.

Folders are searched with sub-folders and symlinks; nothing outside them is opened.
"""

from __future__ import annotations

import difflib
import os
import re
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from .checkpoint import Checkpoint, open_checkpoint
from .diffusers_folder import REST, is_diffusers_folder
from .errors import Instead, RecipeError

MOST_OPENED = 48
"""Headers that a library keeps: that of a large model takes a MiB or two."""
SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth")
_LORA_FOLDERS = ("Lora", "LyCORIS", "lora", "loras")
_TITLE = re.compile(r"(?P<name>.*\S)\s*\[(?P<hash>[0-9a-fA-F]{8,64})\]")


def split_title(name: str) -> tuple[str, str | None]:
    """(name, hash) of a webui title such as `model.safetensors [abcdef1234]`; the hash is None in a plain name."""
    match = _TITLE.fullmatch(name)
    return (match["name"], match["hash"].lower()) if match else (name, None)


def without_suffix(name: str) -> str:
    """A model's name without a checkpoint's suffix, a folder's slash and a title's hash."""
    plain = split_title(name)[0]
    if plain.endswith("/"):
        return plain[:-1]
    return next(
        (plain[: -len(suffix)] for suffix in SUFFIXES if plain.lower().endswith(suffix) and len(plain) > len(suffix)), plain
    )


def last_part(name: str) -> str:
    """What follows the last slash but for that of a folder, which ends its name."""
    return name[name.rfind("/", 0, -1) + 1 :]


class ModelLibrary:
    """The checkpoints below some folders, and the LoRAs below others.

    Args:
        loras: where LoRAs are; None for the folders that usually lie beside the models'.
        what: the files are called in messages.
    """

    def __init__(self, folders: Sequence[Path], loras: Sequence[Path] | None = None, what: str = "model"):
        self.folders = tuple(folders)
        self.lora_folders = tuple(loras if loras is not None else lora_folders(folders))
        self._what = what
        self._opened: dict[Path, tuple[object, Checkpoint]] = {}
        self._lock = threading.Lock()

    @cached_property
    def files(self) -> tuple[tuple[str, Path], ...]:
        """(name with suffix, relative to its folder, in forward slashes; path) of every checkpoint.

        The name of a diffusers folder ends with a slash.
        """
        found = []
        for folder in self.folders:
            if not folder.is_dir():
                raise RecipeError(f"the models folder '{folder}' does not exist. Name another with --models DIR.")
            found += [(_name_below(folder, path), path) for path in _walk(folder)]
        return tuple(found)

    def open(self, path: Path) -> Checkpoint:
        """A checkpoint's header; read again only where the file is another one, since it is asked for again and again."""
        try:
            stat = path.stat()
        except OSError:
            return open_checkpoint(path)
        if path.is_dir():  # its own times do not tell that a file in it has changed
            return open_checkpoint(path)
        identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        with self._lock:
            known = self._opened.pop(path, None)
        if known is None or known[0] != identity:
            known = identity, open_checkpoint(path)
        with self._lock:
            self._opened[path] = known
            while len(self._opened) > MOST_OPENED:
                del self._opened[next(iter(self._opened))]
        return known[1]

    def knows(self, name: str) -> bool:
        """Whether at least one file fits the name."""
        return bool(self._fitting(name))

    def find(self, name: str) -> Path:
        """The one file or diffusers folder that `name` means: its name with or without suffix, or a path below a models folder;
        `./name` is what lies in that folder itself.

        A title with a hash, which is compared with the file's, may name a folder that is not there: others keep theirs elsewhere.

        Raises:
            RecipeError: no file fits, or several do.
        """
        plain = split_title(name)[0]
        matches = self._fitting(name)
        if len(matches) > 1:
            listed = ", ".join(f"'{path}'" for path in matches)
            own = [self._own_name(given, path) for given, path in self.files if path in matches]
            advice = f"Write {' or '.join(map(_quoted, own))}" if all(own) else "Rename one of them: their names are the same"
            instead = tuple(Instead(name, each) for each in own if each)
            raise RecipeError(f"'{plain}' fits {len(matches)} files: {listed}. {advice}.", instead=instead)
        if not matches:
            near = self._nearest(plain)
            if near:
                raise RecipeError(f"there is no {self._what} '{plain}'. Did you mean '{near}'?", instead=(Instead(name, near),))
            raise RecipeError(f"there is no {self._what} '{plain}' in {self._where()}.{self._listed()}")
        return matches[0]

    @cached_property
    def loras(self) -> ModelLibrary:
        """The LoRAs' own folders."""
        return ModelLibrary(self.lora_folders, (), "LoRA")

    def find_lora(self, name: str) -> Path:
        """The one file that the name of a LoRA means: in the LoRAs' folders, else among the models; errors as of `find`."""
        if not self.loras.knows(name) and self.knows(name):
            return self.find(name)
        return self.loras.find(name)

    def _fitting(self, name: str) -> list[Path]:
        plain, claimed = split_title(name)
        return self._matches(plain) or (self._matches(last_part(plain.replace("\\", "/"))) if claimed else [])

    def _matches(self, plain: str) -> list[Path]:
        wanted = unicodedata.normalize("NFC", plain).replace("\\", "/")
        by_file: dict[Path, Path] = {}
        for given, path in self.files:
            relative = unicodedata.normalize("NFC", given)  # macOS spells accents apart
            stem = without_suffix(relative)
            last = (relative[stem.rfind("/") + 1 :], stem.rpartition("/")[2])
            if wanted in (relative, stem, *last, f"./{relative}", f"./{stem}"):
                # The same file reached on two ways is one model.
                by_file.setdefault(path.resolve(), path)
        return list(by_file.values())

    def _own_name(self, given: str, path: Path) -> str:
        """The shortest name that means this file alone; empty where another models folder has one of the very same name."""
        stem = without_suffix(given)
        return next((name for name in (stem, given, f"./{stem}", f"./{given}") if self._fitting(name) == [path]), "")

    def _where(self) -> str:
        return ", ".join(f"'{folder}'" for folder in self.folders)

    def _nearest(self, plain: str) -> str:
        """The known name that is nearest; empty where none is near."""
        # By its last part too: a file in a sub-folder is mostly named without it.
        spellings = {part.lower(): stem for stem in reversed(self._stems()) for part in (stem.rpartition("/")[2], stem)}
        near = difflib.get_close_matches(plain.lower(), spellings, 1)
        return spellings[near[0]] if near else ""

    def _stems(self) -> list[str]:
        return sorted({without_suffix(relative) for relative, _ in self.files})

    def _listed(self) -> str:
        stems = self._stems()
        return f" It has {', '.join(stems[:8])}{' and more' if len(stems) > 8 else ''}." if stems else " It holds no checkpoints."


class OneModel(ModelLibrary):
    """A file or folder that was named by its path; nothing else is looked for.

    Args:
        name: as a library has it: with its suffix, a folder's with a slash.
    """

    def __init__(self, name: str, path: Path):
        super().__init__(())
        self._given = ((name, path),)

    @cached_property
    def files(self) -> tuple[tuple[str, Path], ...]:
        return self._given


def default_folders() -> tuple[Path, ...]:
    """CHILLY_MODELS (several with the system's path separator), else ./models, else the webui's folder around this clone."""
    if named := os.environ.get("CHILLY_MODELS"):
        return tuple(Path(folder) for folder in named.split(os.pathsep) if folder)
    clone = Path(__file__).resolve().parents[1]
    in_webui = clone.parent.parent / "models" / "Stable-diffusion"
    if not Path("models").is_dir() and clone.parent.name == "extensions" and in_webui.is_dir():
        return (in_webui,)
    return (Path("models"),)


def lora_folders(folders: Sequence[Path]) -> tuple[Path, ...]:
    """CHILLY_LORAS, written as CHILLY_MODELS, else the folders of LoRAs that lie beside the models' folders, or in them."""
    if named := os.environ.get("CHILLY_LORAS"):
        return tuple(Path(folder) for folder in named.split(os.pathsep) if folder)
    near = (place / name for folder in folders for place in (folder.absolute().parent, folder) for name in _LORA_FOLDERS)
    found = {folder.resolve(): folder for folder in near if folder.is_dir()}
    return tuple(found.values())


def _name_below(folder: Path, path: Path) -> str:
    """What a checkpoint is called from `folder`, which may be one itself."""
    name = path.relative_to(folder).as_posix() if path != folder else path.resolve().name
    return f"{name}/" if path.is_dir() else name


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _walk(folder: Path) -> Iterator[Path]:
    """Checkpoints below a folder in a fixed order, following symlinks but no folder twice; the insides of diffusers folders
    are no checkpoints, nor is the rest of one; another file beside its parts, such as the model in one file, is."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        is_model = is_diffusers_folder(Path(parent))
        if is_model:
            yield Path(parent)
            folders.clear()
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith(".") and not (is_model and name == REST):
                yield Path(parent) / name
