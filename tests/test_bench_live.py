"""What `bench --live` says of an update: how many bytes it moves, and whether its result is the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import UNET, model, plan_in, write_models

from bench.live import Clock, _differing, _table
from lib_chilly.resident import ResidentWeights

KEY = UNET + "middle_block.0.in_layers.0.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_models(tmp_path, a=model(1), b=model(2))


def test_bytes_of_an_update_are_those_of_the_lanes_that_change(folder):
    live = ResidentWeights("cpu")
    everything = [plan_in(folder, f"weighted_sum(a, b, alpha={alpha})") for alpha in ("0.2", "0.4", "0.6")]
    middle = [plan_in(folder, f"weighted_sum(a, b, alpha={{M00: {alpha}, *: 0.3}})") for alpha in ("0.2", "0.4", "0.6")]
    clock = Clock(torch.device("cpu"), 1)
    all_of_it, lane = (clock.compare("update", live, plans) for plans in (everything, middle))
    assert all_of_it["bytes"] == everything[0].reads_bytes + everything[0].data_bytes
    assert lane["bytes"] == 3 * sum(job.size_bytes for job in middle[0].jobs if job.lane == "M00")
    timed = {"device": 0.003, "copy": 0.002, "wall": 0.0035}
    line = _table({"case": "small", "rows": [all_of_it, lane | timed]}).splitlines()[-1]
    assert line == f"| update | {lane['bytes'] / 1e9:.2f} | 3.000 | 2.000 | 1.50 | 3.500 |  |"


def test_elements_that_are_not_the_file_s_are_counted(folder):
    live, plan = ResidentWeights("cpu"), plan_in(folder, "mean(a, b)")
    assert _differing(live, plan, folder) == 0
    live.tensors[KEY].view(-1)[5:8] += 1
    assert _differing(live, plan, folder) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "sd9-2"), "there is no live case 'sd9-2'. Cases: sd1-2, sd1-6, sdxl-2, sdxl-6."),
        (("--device", "cuda"), "there is no GPU that torch can use here. Take --device cpu."),
    ],
)
def test_case_or_device_that_is_not_there_is_one_sentence(run, tmp_path, arguments, said):
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    code, _, err = run("bench", "--live", "--dir", tmp_path, *arguments)
    assert (code, err) == (2, f"chilly: {said}\n")
