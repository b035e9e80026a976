"""What a user changes around us inside a webui, and what we make of it then. Called like inside.py's functions."""

from __future__ import annotations

import inside
from modules import shared


def page_picture_of(text=inside.MIX, **params):
    """A picture through the page's questions with parameters of one's own: as `inside.page_picture` has it."""
    before = inside.SMALL
    inside.SMALL = {**before, **params}
    try:
        return inside.page_picture(text)
    finally:
        inside.SMALL = before


def write_style(name, prompt):
    """Another text in a style, as the webui's editor of styles leaves it."""
    known = shared.prompt_styles.styles
    known[name] = known[name]._replace(prompt=prompt)


def keep_picture(text=inside.MIX, **params):
    """A picture that is kept in the history through the page's questions: its row there, or the problem."""
    params = {**inside.SMALL, **params}
    job = inside.follow(inside.ask("preview", text=text, params=params, pictures=[{"id": "merged", "of": "merged"}])["job"])
    return inside.ask("keep", text=text, step="M", params=params, image={"job": job["job"], "id": "merged"})
