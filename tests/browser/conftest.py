"""One server and one browser for all tests of the page; a test has a context of its own, which forgets everything."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browsing import FLAGS, OLD_GRADIO, PATIENCE_SECONDS, Site, Watch, chromium, gradio_python, open_page
from safetensors.torch import load_file, save_file

from bench.picturable import picturable
from lib_chilly.demo_models import MODELS

HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1<'
"""What a model's name may hold where the page must not care."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's nine names in a size that has pictures, and one that is hostile."""
    folder = tmp_path_factory.mktemp("page") / "models"
    folder.mkdir()
    base = load_file(picturable(folder / f"{MODELS[0].name}.safetensors"))
    for model in MODELS[1:]:
        torch.manual_seed(model.seed)
        kept = {key: value for key, value in base.items() if not (model.without and key.startswith("first_stage_model."))}
        moved = {key: _moved(value, torch.float32 if model.dtype == "fp32" else torch.float16) for key, value in kept.items()}
        save_file(moved, folder / f"{model.name}.safetensors")
    os.link(folder / "NED.safetensors", folder / f"{HOSTILE}.safetensors")
    return folder


def _moved(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor some way from another one; integers stay."""
    if not value.is_floating_point():
        return value.clone()
    plain = value.float()
    return (plain + 0.15 * (plain.std() if plain.numel() > 1 else 0) * torch.randn_like(plain)).to(dtype)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    executable = chromium()
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=executable, headless=True, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page's server on the gradio that the tests' own Python has."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("site")
    (folder / "out").mkdir()
    site = Site(sys.executable, [models], folder / "out", folder / "home")
    yield site
    site.end()


@pytest.fixture(scope="session", params=sorted(OLD_GRADIO))
def old_site(request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page's server on the gradio that webuis have; a test with it runs once on each."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "out").mkdir()
    site = Site(gradio_python(request.param), [models], folder / "out", folder / "home")
    yield site
    site.end()


@pytest.fixture
def new_context(browser: Any) -> Iterator[Callable[..., Any]]:
    """Make a browser's window with a memory of its own, for a site; after the test nothing may have gone wrong in any of them."""
    made: list[tuple[Any, Watch]] = []

    def make(site: Site, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **options})
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        made.append((context, Watch(context, site.url)))
        return context

    yield make
    for context, _ in made:
        context.close()
    for _, watch in made:
        watch.check()


@pytest.fixture
def page(new_context: Callable[..., Any], site: Site) -> Any:
    """The page, just opened."""
    return open_page(new_context(site), site.url)
