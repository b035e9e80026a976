"""The page as a part of a gradio page, whatever its version; the only file of the page that imports gradio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

_VERSION = int(gr.__version__.split(".")[0])
_JS = "_js" if _VERSION < 4 else "js"
_QUIETLY: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_name": False}


def build_tab(ask: Callable[[str], str]) -> None:
    """Put the page here: an empty place that javascript/ fills, and two hidden components that carry what it asks.

    Args:
        ask: a request to its reply, as Service.answer.

    The button's script gives the request in the place of its input; when the reply is there, another script takes it. They
    are hidden by a class: newer gradio leaves out what is not visible.
    """
    hidden = {"elem_classes": ["chilly-hidden"]}
    gr.HTML('<div id="chilly_page"></div>', elem_id="chilly_place")
    reply = gr.Textbox(value="", label="reply", lines=1, max_lines=1, elem_id="chilly_reply", **hidden)
    go = gr.Button("ask", elem_id="chilly_go", **hidden)
    for component in (reply, go):
        component.do_not_save_to_config = True  # the webui would keep their values as its defaults
    # Else gradio 4 runs the script of a click that comes while it ends the event before, and drops what it gave.
    each = {} if _VERSION < 4 else {"trigger_mode": "multiple"}

    def answer(request: str) -> Any:
        # The button may be pressed more often than there are questions: then the last reply stays.
        return ask(request) if request else gr.update()

    asked = go.click(answer, [reply], [reply], **{_JS: "() => window.chilly.request()"}, **each, **_QUIETLY)
    asked.then(None, [reply], None, **{_JS: "(text) => { window.chilly.answer(text); }"}, **_QUIETLY)


def build_webui_tab(ask: Callable[[str], str], add: Callable[[], None]) -> Any:
    """The page as a tab of the webui: what its `on_ui_tabs` takes.

    Args:
        add: makes more components in it.
    """
    with gr.Blocks(analytics_enabled=False) as blocks:
        build_tab(ask)
        add()
    return blocks


def build_app(ask: Callable[[str], str]) -> Any:
    """The standalone page as an ASGI application. It asks no other host for anything: fonts are those of the machine."""
    from fastapi import FastAPI

    fonts = {
        "font": ["Source Sans Pro", "ui-sans-serif", "system-ui", "sans-serif"],
        "font_mono": ["IBM Plex Mono", "ui-monospace", "monospace"],
    }
    looks = {"theme": gr.themes.Default(**fonts)}
    about = {"title": "ChillyMerge", "analytics_enabled": False}
    with gr.Blocks(**about, **(looks if _VERSION < 6 else {})) as blocks:
        build_tab(ask)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    return gr.mount_gradio_app(app, blocks, path="/", **(looks if _VERSION >= 6 else {}))
