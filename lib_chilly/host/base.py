"""What the page and its commands ask of the program that they run in; a host answers with models, pictures and settings.

A picture is always that of a plan: a recipe with several sources, or the name of one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MergeError

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..models import ModelLibrary
    from ..plan import Plan

DEFAULT_SAMPLER = "Euler a"
MOST_PIXELS_ON_A_SIDE = 2048
COMPARING = "comparing the file with the last picture"
STOPPED = "stopped. There is no picture; the models are as they were."
RECIPE = "ChillyMerge recipe"
"""Name of the value below a picture that holds its recipe, as a JSON text."""


@dataclass(frozen=True)
class CheckpointRef:
    """One checkpoint that the host has.

    Attributes:
        title: as the user picks it; recipes take it as a name.
        name: without suffix and hash.
        path: the file, or the diffusers folder.
    """

    title: str
    name: str
    path: Path


@dataclass(frozen=True)
class GenParams:
    """What picture is wanted.

    Attributes:
        seed: the same seed and parameters give the same picture.
        cfg: weight of the prompt against the negative prompt; at 1 the negative prompt counts for nothing.
        width, height: in pixels, multiples of 8.
        sampler: one of the host's `samplers()`.
        clip_skip: 1 for the text encoder's last layer, 2 for the one before it (SD 1.x; others are always 2).
        scheduler: one of the host's `schedulers()`; empty is the sampler's own.
        styles: of the host's `styles()`, which add to the prompts.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 20
    cfg: float = 7.0
    width: int = 512
    height: int = 512
    sampler: str = DEFAULT_SAMPLER
    clip_skip: int = 1
    scheduler: str = ""
    styles: tuple[str, ...] = ()


@dataclass(frozen=True)
class GenResult:
    """A picture and what is to be said of it.

    Attributes:
        infotext: the parameters as the webui writes them below a picture.
        notes: sentences for the user: a prompt that was cut, values that overflowed.
        merge_seconds, seconds: what merging took, and all together.
        blocks: how many blocks were merged again.
    """

    image: Image
    infotext: str
    seed: int
    notes: tuple[str, ...] = ()
    merge_seconds: float = 0.0
    seconds: float = 0.0
    blocks: int = 0


@dataclass
class Progress:
    """How far something is; a page reads it while another thread writes.

    Attributes:
        text: what is being done.
        share: 0 to 1.
        cancelled: set it to stop at the next step.
        on_change: called after each step, from the working thread.
        show: takes what the picture looks like by now, where somebody wants to see it; called now and then, from any thread.
    """

    text: str = ""
    share: float = 0.0
    cancelled: bool = False
    on_change: Callable[[Progress], None] = field(default=lambda progress: None, repr=False)
    show: Callable[[Image], None] | None = field(default=None, repr=False)

    def at(self, share: float, text: str | None = None) -> None:
        """Say how far it is, and what is being done now."""
        self.share = min(1.0, max(0.0, share))
        self.text = self.text if text is None else text
        self.on_change(self)

    def is_cancelled(self) -> bool:
        return self.cancelled


class Host(ABC):
    """One program to run in."""

    kind: str
    """"standalone", or "webui"."""

    @property
    def no_pictures(self) -> str:
        """Why no pictures of merges can be made here, in a sentence; empty where they can."""
        return ""

    @property
    def can_load(self) -> bool:
        """Whether it makes pictures with a model that was saved, by `load`."""
        return False

    @abstractmethod
    def checkpoints(self) -> Sequence[CheckpointRef]:
        """What there is, in the order of the names, as of the last `refresh_checkpoints`."""

    @abstractmethod
    def refresh_checkpoints(self) -> None:
        """Look for checkpoints again."""

    @abstractmethod
    def library(self) -> ModelLibrary:
        """Where the planner finds models."""

    @abstractmethod
    def output_folder(self) -> Path:
        """Where results are saved unless the user says otherwise."""

    def hidden_folders(self) -> Sequence[Path]:
        """Folders of which nobody who asks learns more than what is called how below them."""
        return ()

    @abstractmethod
    def register_saved(self, path: Path, sha256: str) -> None:
        """A result was saved: list it, with its hash where the host keeps such."""

    def load(self, path: Path, progress: Progress | None = None) -> str:
        """Make a saved model the current one of the program: its title. Waits until the program has time for it.

        Raises:
            MergeError: it cannot be loaded, or `can_load` is false; Interrupted where it was stopped while it waited.
        """
        raise MergeError("no model can be loaded here.")

    def keep(self, plan: Plan, progress: Progress | None = None) -> str:
        """Make a merge the current model of the program without saving it, until another one is chosen: its title.

        Raises:
            MergeError: it cannot be shown, or `can_load` is false.
        """
        raise MergeError("no model can be loaded here.")

    def was_shown(self, plan: Plan) -> bool:
        """Whether there was a picture of a plan's merge; any thread may ask, and need not wait."""
        return False

    def is_as_shown(self, plan: Plan, path: Path, sha256: str, progress: Progress) -> bool | None:
        """Whether a file that was written now holds what a picture was made of, bit for bit. That is merged once more where there
        were others since. Waits for who is at work with it.

        Args:
            plan, sha256: of the file; the plan's merge `was_shown`.

        Returns:
            None where `progress` was cancelled before its turn, or the file or a source is gone.
        """
        return None

    @abstractmethod
    def samplers(self) -> Sequence[str]:
        """The names that `GenParams.sampler` may have."""

    def schedulers(self) -> Sequence[str]:
        """The names that `GenParams.scheduler` may have; none where a sampler's name says its schedule too."""
        return ()

    def styles(self) -> Sequence[str]:
        """The names that `GenParams.styles` may have."""
        return ()

    @abstractmethod
    def exclusive(self, progress: Progress) -> AbstractContextManager[None]:
        """One thread at a time merges or makes pictures; a second waits here. Not to be entered twice by one thread.

        Raises:
            Interrupted: `progress` was cancelled while this waited.
        """

    @abstractmethod
    def preview(self, plan: Plan, params: GenParams, progress: Progress | None = None) -> GenResult:
        """The picture of a plan's result, merged in memory; enters `exclusive` itself.

        Raises:
            MergeError: it cannot be made, in one sentence; Interrupted where `progress` was cancelled.
        """

    def picture_state(self) -> str:
        """The same while a plan and its parameters give the same picture: what of the program's own settings it depends on."""
        return ""

    @abstractmethod
    def estimate(self, plan: Plan, params: GenParams) -> tuple[float, str]:
        """How many seconds a preview will take, and a sentence that says so honestly."""

    def close(self) -> None:  # noqa: B027
        """The program ends, or its page does."""

    @abstractmethod
    def option(self, name: str, default: Any) -> Any:
        """A setting of the user's."""

    @abstractmethod
    def set_option(self, name: str, value: Any) -> None:
        """Keep a setting; JSON values."""
