"""The extension's place in the webui: what is registered when it starts, and taken back when its page is loaded again.

Nothing of the engine is imported before somebody uses it: a webui with a hundred extensions should start no later for ours.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from . import webui_callbacks as callbacks
from .webui_api import add_api
from .webui_failures import forget as forget_grid
from .webui_features import why_no_pictures
from .webui_kept import is_ours, put_choice_back
from .webui_merged import CHOSEN, install, uninstall
from .webui_settings import SECTION, add_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ..ui.questions import Room
    from ..ui.service import Service

_NEIGHBOURS = ("pnginfo_generation_info", "extras_tab")
"""Of our button in the tab PNG Info."""
_LAZY_REFRESH = "forge_refresh_checkpoint"
"""The button beside the dropdown of a webui that loads the chosen model only when it needs it."""
_lock = threading.Lock()
_service: Service | None = None


def register() -> None:
    """Called by the entry script each time that the webui runs it; what was registered before is not registered twice."""
    if not why_no_pictures():
        install()
    _answer_an_old_choice()
    for category, callback in (
        ("ui_settings", add_settings),
        ("ui_tabs", tabs),
        ("app_started", started),
        ("after_component", made),
        ("infotext_pasted", pasted),
        ("script_unloaded", unload),
    ):
        callbacks.register(category, callback)


def service() -> Service:
    """What answers the page; made when it is first asked."""
    global _service
    with _lock:
        if _service is None:
            from ..ui.questions import Room
            from ..ui.service import Service
            from .webui import WebuiHost

            _service = Service(Room(WebuiHost()))
        return _service


def room() -> Room:
    """What the page, the axes and the API share: `room().host` is the WebuiHost, `room().one(Work, Work)` its jobs."""
    return service().room


def tabs() -> list[tuple[Any, str, str]]:
    """The tab, as the webui takes it."""
    from ..ui.tab import build_webui_tab
    from .webui_paste import add_exchange

    element, title = SECTION
    return [(build_webui_tab(ask, add_exchange), title, element)]


def made(component: Any, **given: Any) -> None:
    """The webui has made a component of its page; there are thousands."""
    name = given.get("elem_id")
    if name in _NEIGHBOURS:
        from .webui_paste import after_component

        after_component(component, **given)
    elif name == _LAZY_REFRESH:
        from .webui_lazy import add_button

        add_button()


def pasted(infotext: str, params: dict[str, Any]) -> None:
    """Somebody has pasted an infotext into another tab, or sent one."""
    from .webui_paste import on_infotext_pasted

    on_infotext_pasted(infotext, params)


def started(demo: Any, app: FastAPI) -> None:
    """The webui has started; `demo` is its page, None with --nowebui."""
    add_api(app, room)


def ask(request: str) -> str:
    """The reply to a request of the page; what cannot even be begun is said there too."""
    try:
        answerer = service()
    except Exception as error:
        from ..ui.problem import problem_of

        return json.dumps({"id": None, "problem": problem_of(error, "question")})
    return answerer.answer(request)


def unload() -> None:
    """End what is under way, let go of all merges, and put the webui's functions back."""
    global _service
    with _lock:
        ended, _service = _service, None
    if ended is not None:
        ended.close()
        ended.room.host.close()
    put_choice_back()
    uninstall()
    forget_grid()


def _answer_an_old_choice() -> None:
    """Settings may name a merge of an earlier session, which was in memory alone. One of this session is in use still when the
    webui runs the scripts anew without its page."""
    from modules import sd_models, shared

    said = shared.opts.data.get(CHOSEN)
    if is_ours(said) and said not in sd_models.checkpoint_aliases:
        from .webui_models import use_data_folder

        use_data_folder()
        back = put_choice_back()
        print(f"ChillyMerge: the merge {said} was kept in memory and is gone; {back or 'the first model'} is loaded instead.")
