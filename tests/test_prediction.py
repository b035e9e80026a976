"""What a model predicts: read from markers, metadata and the config beside it; known different ones are not mixed by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import merge_in, model, plan_in, stored, tiny, write_file, write_models
from reference import read_file

from lib_chilly.architecture import load
from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.cli import main
from lib_chilly.errors import ArchitectureError, RecipeError
from lib_chilly.inspection import inspect_file

CONFIG = """\
model:
  base_learning_rate: 1.0e-4
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    parameterization: "v"  # as trained
    linear_start: 0.00085
    unet_config:
      params:
        in_channels: 4
"""
PLAIN = CONFIG.replace('    parameterization: "v"  # as trained\n', "")
V_MARKER = {"v_pred": stored([], "I64", (0,))}


def predicts(
    folder: Path, metadata: dict[str, str] | None = None, config: str | bytes | None = None, marker: bool = False
) -> str:
    path = write_file(folder / "m.safetensors", model(1, only=[], extras=V_MARKER if marker else None), metadata)
    if config is not None:
        path.with_suffix(".yaml").write_bytes(config if isinstance(config, bytes) else config.encode())
    return str(inspect_file(path)["prediction"])


@pytest.mark.parametrize(
    ("metadata", "config", "marker", "said"),
    [
        ({}, None, False, "unknown"),
        ({"modelspec.prediction_type": "v"}, None, False, "v"),
        ({"modelspec.prediction_type": " Epsilon"}, None, False, "epsilon"),
        ({"modelspec.predict_key": "v"}, None, False, "v"),
        ({"modelspec.prediction_type": "sample"}, None, False, "unknown"),
        ({}, CONFIG, False, "v"),
        ({}, CONFIG.replace('"v"', "eps"), False, "epsilon"),
        ({}, CONFIG.replace("\n", "\r\n"), False, "v"),
        ({}, PLAIN, False, "epsilon"),
        ({"modelspec.prediction_type": "epsilon"}, CONFIG, False, "epsilon"),
        ({"modelspec.prediction_type": "epsilon"}, PLAIN, True, "v"),
    ],
)
def test_prediction_is_read_from_markers_then_metadata_then_the_config(tmp_path, metadata, config, marker, said):
    assert predicts(tmp_path, metadata, config, marker) == said


HOSTILE = {
    "empty": "",
    "another kind of config": "model:\n  target: sgm.models.diffusion.DiffusionEngine\n  params:\n    scale_factor: 0.13\n",
    "in a comment": "model:\n  params:\n#   parameterization: v\n",
    "of another model": "model:\n  params:\n    first:\n      parameterization: v\n  parameterization: v\nparameterization: v\n",
    "in a list": "model:\n  params:\n    - parameterization: v\n",
    "a value that is none": "model:\n  params:\n    parameterization: !!python/object/apply:os.system ['false']\n",
    "not UTF-8": b"\xff\xfe\x00model:\x00",
    "binary": bytes(range(256)) * 200,
    "too long": CONFIG + "#" * (1 << 20),
    "wide": "a" * 60_000 + ":" + " " * 5_000,
    "blank": "model:" + " " * 60_000 + "x",
    "deep": "\n".join(" " * depth + "a:" for depth in range(340)),
    "long names": "a" * 500_000 + ":\n" + " b: c\n" * 80_000,
    "many": "a:\n" * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_config_that_says_nothing_or_is_hostile_leaves_the_prediction_unknown(tmp_path, name):
    assert predicts(tmp_path, {}, HOSTILE[name]) == "unknown"


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_what_lies_under_the_configs_name_and_is_no_file_is_passed_over(tmp_path, kind):
    path = tmp_path / "m.yaml"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nothing")
    assert predicts(tmp_path) == "unknown"


def test_config_that_is_a_link_to_another_kind_of_file_is_not_read(tmp_path):
    (tmp_path / "secret.txt").write_text(CONFIG)
    (tmp_path / "m.yaml").symlink_to(tmp_path / "secret.txt")
    assert predicts(tmp_path) == "unknown"


def test_config_as_large_as_one_that_is_copied_is_read(tmp_path):
    assert predicts(tmp_path, {}, CONFIG + "#" * ((1 << 20) - len(CONFIG))) == "v"


def write_kinds(folder: Path) -> Path:
    write_models(folder, v=model(1, only=[]), e=model(2, only=[]), u=model(3, only=[]), v2=model(4, only=[]))
    for name, config in (("v", CONFIG), ("e", PLAIN), ("v2", CONFIG)):
        (folder / f"{name}.yaml").write_text(config)
    return folder


def test_models_known_to_predict_different_things_are_refused_with_both_names(tmp_path):
    with pytest.raises(ArchitectureError) as caught:
        plan_in(write_kinds(tmp_path), "M = u + (v - e)")
    assert str(caught.value) == (
        "'v' predicts v, 'e' predicts epsilon: a mix of both seldom works. Use models of one kind, or name the kind that the "
        "result is meant to have, such as save(prediction=v)."
    )


@pytest.mark.parametrize("recipe", ["M = mean(v, u)", "M = mean(e, u)", "M = mean(v, v2)"])
def test_unknown_and_equal_predictions_are_merged_without_a_word(tmp_path, recipe):
    plan = plan_in(write_kinds(tmp_path), recipe)
    assert not any("predict" in text for text in (*plan.warnings, *plan.notes))


@pytest.mark.parametrize(
    "recipe",
    [
        "M = weighted_sum(e, v, alpha=0)",
        "M = weighted_sum(v, e, alpha={*: 1, CLIP_L: 0.5, VAE: 0})",
        "M = e + 0.5 * (v - v)",
        "M = weighted_sum(e, v, alpha={CLIP_L: 1})",
    ],
)
def test_model_that_gives_nothing_to_the_unet_may_predict_anything_and_its_config_is_not_copied(tmp_path, recipe):
    plan = plan_in(write_kinds(tmp_path), recipe)
    assert plan.sidecar is not None and plan.sidecar.source == "e"
    assert plan.prediction == "epsilon"


def test_one_coefficient_in_one_lane_of_the_unet_is_enough_to_refuse(tmp_path):
    with pytest.raises(ArchitectureError, match="'e' predicts epsilon, 'v' predicts v"):
        plan_in(write_models(write_kinds(tmp_path), e=model(2), v=model(1)), "M = weighted_sum(e, v, alpha={OUT03: 0.01})")


def test_marker_that_the_result_gets_from_a_model_without_a_part_in_it_is_no_way_around(tmp_path):
    write_models(write_kinds(tmp_path), marked=model(5, only=[], extras=V_MARKER))
    with pytest.raises(ArchitectureError, match="'e' predicts epsilon, 'marked' predicts v"):
        plan_in(tmp_path, "M = weighted_sum(e, marked, alpha=0)")
    assert plan_in(tmp_path, "M = weighted_sum(e, marked, alpha=0)", discard="v_pred").prediction == "epsilon"


@pytest.mark.parametrize("kind", ["v", "epsilon"])
def test_named_prediction_allows_the_mix_and_stands_in_the_header(tmp_path, kind):
    folder, text = write_kinds(tmp_path), "M = mean(v, e)"
    merge_in(folder, f"{text}\nsave(prediction={kind})", tmp_path / "a.out")
    merge_in(folder, text, tmp_path / "b.out", options={"prediction": kind})
    assert (tmp_path / "a.out").read_bytes() == (tmp_path / "b.out").read_bytes()
    assert f"prediction={kind}" in plan_in(folder, f"{text}\nsave(prediction={kind})").recipe.canonical()
    assert len(read_file(tmp_path / "a.out")) == len(model(1, only=[]))
    assert open_checkpoint(tmp_path / "a.out").metadata["modelspec.prediction_type"] == kind


@pytest.mark.parametrize(("kind", "config"), [("v", CONFIG), ("epsilon", PLAIN)])
def test_config_beside_the_result_is_that_of_a_model_of_the_named_kind(tmp_path, kind, config):
    sidecar = plan_in(write_kinds(tmp_path), f"M = mean(v, e)\nsave(prediction={kind})").sidecar
    assert sidecar is not None
    assert sidecar.content.decode() == config


def test_unknown_kind_of_prediction_is_refused_with_the_kinds_there_are(tmp_path):
    with pytest.raises(RecipeError, match="save option 'prediction' is one of epsilon, v; here it is 'x0'"):
        plan_in(write_kinds(tmp_path), "M = mean(v, e)\nsave(prediction=x0)")


@pytest.mark.parametrize("name", ["sd3", "flux"])
@pytest.mark.parametrize("kind", ["v", "epsilon"])
def test_prediction_of_an_architecture_that_has_one_is_not_renamed(tmp_path_factory, name, kind):
    path = tiny(tmp_path_factory, f"{name}-a", name)
    with pytest.raises(RecipeError) as caught:
        plan_in(path.parent, path.stem, prediction=kind)
    assert str(caught.value) == f"{load(name).title} predicts flow; leave prediction out."


@pytest.mark.parametrize(("kind", "other", "recipe"), [("v", "epsilon", "M = mean(e, u)"), ("epsilon", "v", "M = mean(v, v2)")])
def test_prediction_that_no_source_is_known_to_have_is_warned_of_and_no_config_denies_it(tmp_path, kind, other, recipe):
    plan = plan_in(write_kinds(tmp_path), recipe, prediction=kind)
    name = recipe[9]
    assert (
        f"'{name}' predicts {other} and no source is known to predict {kind}: prediction={kind} is written all the same, and "
        "changes no number."
    ) in plan.warnings
    assert plan.sidecar is None
    said = f"'{name}.yaml', which lies beside '{name}', is passed over: it says that the model predicts {other}, not {kind}."
    assert said in plan.notes


def test_config_that_is_named_and_denies_the_prediction_is_refused(tmp_path):
    with pytest.raises(
        RecipeError, match=r"'e\.yaml' beside 'e' cannot be copied: it says that the model predicts epsilon, not v"
    ):
        plan_in(write_kinds(tmp_path), "M = mean(v, e)", prediction="v", yaml="e")


def test_mix_of_which_one_source_has_the_named_prediction_is_not_warned_of(tmp_path):
    assert not any("predict" in text for text in plan_in(write_kinds(tmp_path), "M = mean(v, e)", prediction="v").warnings)


def test_marker_that_denies_the_named_prediction_is_warned_of_and_header_and_recipe_agree(tmp_path):
    folder = write_models(tmp_path / "models", m=model(1, only=[], extras=V_MARKER))
    said = "the result keeps 'v_pred', by which programs take it to predict v, not epsilon; discard=v_pred takes it out."
    assert said in plan_in(folder, "m", prediction="epsilon").warnings
    assert plan_in(folder, "m", prediction="epsilon").prediction == "epsilon"
    without = plan_in(folder, "m", prediction="epsilon", discard="v_pred")
    assert not any("v_pred" in text for text in without.warnings)
    merge_in(folder, "m", tmp_path / "out.safetensors", options={"prediction": "epsilon"})
    metadata = open_checkpoint(tmp_path / "out.safetensors").metadata
    assert "prediction=epsilon" in metadata["chillymerge"]
    assert metadata["modelspec.prediction_type"] == "epsilon"


def test_command_line_says_and_takes_predictions(tmp_path, capsys):
    folder = str(write_kinds(tmp_path))
    assert main(["plan", "M = mean(v, e)", "--models", folder]) == 2
    assert "'v' predicts v, 'e' predicts epsilon" in capsys.readouterr().err
    assert main(["plan", "M = mean(v, e)", "--models", folder, "--prediction", "v", "--json"]) == 0
    assert "save(dtype=fp16, prediction=v)" in json.loads(capsys.readouterr().out)["recipe"]
    assert main(["inspect", f"{folder}/v.safetensors"]) == 0
    assert "  prediction: v\n" in capsys.readouterr().out
