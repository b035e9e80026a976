"""Prompts as token ids: those of transformers' tokenizer, for CLIP's vocabulary and for bytes alone."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.errors import CheckpointError, RecipeError
from lib_chilly.host import tokens
from lib_chilly.host.tokens import BYTES_ONLY, CLIPS, Vocabulary

pytest.importorskip("transformers")
from test_previews import tokenizer

WORDS = ["a", "photo", "don't", "!!'s", "42", "é", "猫", "👍🏽", "(x:1.3)"]
theirs = functools.cache(tokenizer)


@pytest.mark.parametrize("size", [BYTES_ONLY, CLIPS])
@settings(deadline=None)
@given(text=st.text(max_size=30) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_ids_are_those_of_transformers_tokenizer(size, text):
    expected = theirs(size)(text, padding="max_length", truncation=True).input_ids
    assert Vocabulary(size).prompt(text).padded(size - 1) == expected


def test_ids_of_a_known_sentence_are_those_of_clip():
    ids = (49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 49407)
    assert Vocabulary(CLIPS).prompt("a photo of an astronaut riding a horse").ids == ids


def test_bytes_alone_are_their_own_tokens_and_the_last_of_a_word_says_so():
    assert Vocabulary(BYTES_ONLY).prompt("!A b").ids == (512, 256, 256 + 64, 256 + 65, 513)
    prompt = Vocabulary(BYTES_ONLY).prompt("x" * 80)
    assert (len(prompt.ids), prompt.lost, len(Vocabulary(BYTES_ONLY).prompt("").padded(0))) == (77, 5, 77)


def test_unknown_vocabulary_and_a_missing_package_are_said_in_a_sentence(monkeypatch):
    with pytest.raises(CheckpointError, match="has 50000 tokens"):
        Vocabulary(50000)
    monkeypatch.setattr(tokens, "find_spec", lambda name: None)
    tokens._tokenizer.cache_clear()
    with pytest.raises(RecipeError, match=r"previews need clip-anytorch.*requirements-vocabulary\.txt"):
        Vocabulary(CLIPS)
