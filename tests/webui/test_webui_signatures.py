"""The double is like the real webui where we ask it: same names, same parameters."""

from __future__ import annotations

import ast

import pytest
from house import Double
from signatures import PLAIN, SOURCES, _used, facts, names, needed, used
from webuis import Webui

pytestmark = pytest.mark.timeout(600)


def test_names_that_a_source_uses_are_found():
    source = "from modules import shared as s, sd_vae\nfrom modules.images import get_font\nfrom .other import opts\n"
    source += "def f():\n    s.opts.set('a', get_font(3))\n    return sd_vae.loaded_vae_file, opts.save()\n"
    assert set(_used(ast.parse(source))) == {"shared.opts.set", "images.get_font", "sd_vae.loaded_vae_file"}
    assert {"sd_models.reload_model_weights", "infotext_utils.ParamBinding", "images.get_font"} <= used(SOURCES)


def test_every_name_of_the_webui_that_is_used_is_among_the_facts():
    assert set(names()) - set(facts()["signatures"]) == set()


def test_double_has_the_signatures_of_the_facts(double: Double):
    known = facts()
    found = double.call("signatures", *names())
    there = [name for name in names() if found[name] is not False or name in needed()]
    assert {name: found[name] for name in there} == {name: known["signatures"][name] for name in there}
    for what in PLAIN:
        assert set(double.call(what)) <= set(known[what])


def test_facts_are_those_of_the_real_one(real: Webui):
    known = facts()
    assert real.call("signatures", *names()) == {name: known["signatures"][name] for name in names()}
    assert {what: real.call(what) for what in PLAIN} == {what: known[what] for what in PLAIN}
