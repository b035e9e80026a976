"""Which model the user has chosen, also where a merge in memory stands in its place for a while.

A merge is gone when the webui starts again. Its title, which settings that were saved meanwhile may hold, is then answered with
the model that was chosen before; the webui by itself would take the first of its list.
"""

from __future__ import annotations

import contextlib
from typing import Any

from modules import sd_models, shared

from ..errors import OutputError
from .webui_merged import CHOSEN, MARK, MergedInfo

_SETTING = "webui_model"
_last: list[str] = []
"""The title of the user's model in this session. The setting is for the next one, and may not be writable."""


def is_ours(title: Any) -> bool:
    """Whether a title is that of a merge in memory, of this session or of an earlier one."""
    return isinstance(title, str) and f" [{MARK}" in title


def remember_choice(title: Any) -> None:
    """Keep the title of the user's model for a later start."""
    from .settings import keep_setting, read_setting

    if not isinstance(title, str) or is_ours(title):
        return
    _last[:] = [title]
    if read_setting(_SETTING, None) != title:
        with contextlib.suppress(OutputError):  # all but that works without it
            keep_setting(_SETTING, title)


def put_choice_back() -> str | None:
    """Choose the user's own model again where a merge is chosen; the title that was put back. Nothing is loaded by this."""
    if not is_ours(shared.opts.data.get(CHOSEN)):
        return None
    from .settings import read_setting

    before = _last[0] if _last else read_setting(_SETTING, None)
    known = before if isinstance(before, str) and before in sd_models.checkpoint_aliases else None
    shared.opts.data[CHOSEN] = known
    return known


def choose(info: MergedInfo) -> None:
    """Make a merge the user's model, until another one is chosen or the webui ends. The caller is in the queue."""
    remember_choice(shared.opts.data.get(CHOSEN))
    info.is_listed = True
    info.register()
    shared.opts.data[CHOSEN] = info.title
    sd_models.reload_model_weights()
