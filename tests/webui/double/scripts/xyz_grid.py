"""A grid of pictures over up to three axes. The axis that costs most to change is changed least often."""

import csv
import io
import itertools
import random
import re
from collections import namedtuple
from copy import copy

import modules.scripts as scripts
import numpy as np
from modules import errors, images, processing, sd_models, shared
from PIL import Image

AxisInfo = namedtuple("AxisInfo", ["axis", "values"])
_RANGE = re.compile(
    r"\s*([+-]?\s*\d+(?:\.\d*)?)\s*-\s*([+-]?\s*\d+(?:\.\d*)?)(?:\s*\(([+-]\d+(?:\.\d*)?)\s*\)|\s*\[(\d+)\s*\])?\s*"
)


def apply_field(field):
    def apply(p, x, xs):
        vars(p)[field] = x

    return apply


def apply_checkpoint(p, x, xs):
    p.override_settings["sd_model_checkpoint"] = sd_models.get_closet_checkpoint_match(x).name


def format_value_add_label(p, opt, x):
    return ": ".join((opt.label, str(x)))


class AxisOption:
    def __init__(
        self, label, type, apply, format_value=format_value_add_label, confirm=None, cost=0.0, choices=None, prepare=None
    ):
        self.label, self.type, self.apply, self.format_value = label, type, apply, format_value
        self.confirm, self.cost, self.choices, self.prepare = confirm, cost, choices, prepare


class AxisOptionImg2Img(AxisOption):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.is_img2img = True


axis_options = [
    AxisOption("Nothing", str, lambda p, x, xs: None, format_value=lambda p, opt, x: ""),
    AxisOption("Seed", int, apply_field("seed")),
    AxisOption("Steps", int, apply_field("steps")),
    AxisOptionImg2Img("Denoising", float, apply_field("denoising_strength")),
    AxisOption("Checkpoint name", str, apply_checkpoint, cost=1.0, choices=lambda: sorted(sd_models.checkpoints_list)),
    AxisOption("Refiner checkpoint", str, apply_field("refiner_checkpoint"), cost=1.0, choices=lambda: ["None"]),
]


def _numbers(values, kind):
    for value in values:
        match = _RANGE.fullmatch(value)
        if match is None:
            yield from [kind(value)] if value.strip() else []
            continue
        start, end = float(match[1]), float(match[2])
        if match[4]:
            yield from (kind(each) for each in np.linspace(start, end, int(match[4])).tolist())
        else:
            step = float(match[3] or 1)
            yield from (kind(each) for each in np.arange(start, end + (1 if kind is int else step), step).tolist())


class Script(scripts.Script):
    def title(self):
        return "X/Y/Z plot"

    def ui(self, is_img2img):
        import gradio as gr

        self.current_axis_options = [each for each in axis_options if is_img2img or not isinstance(each, AxisOptionImg2Img)]
        return [gr.State(None) for _ in range(18)]

    def _values(self, p, option, text, chosen, csv_mode):
        if option.label == "Nothing":
            return [0]
        if option.choices is not None and not csv_mode:
            values = chosen
        elif option.prepare is not None:
            values = option.prepare(text)
        else:
            values = [value.strip() for line in csv.reader(io.StringIO(text), skipinitialspace=True) for value in line]
        values = list(_numbers(values, option.type) if option.type in (int, float) else map(option.type, values))
        if option.confirm:
            option.confirm(p, values)
        return values

    def run(self, p, *args):
        csv_mode, options, values = args[17], [], []
        for place in (0, 3, 6):
            options.append(self.current_axis_options[args[place] or 0])
            values.append(self._values(p, options[-1], args[place + 1], args[place + 2], csv_mode))
        if not args[12] and p.seed == -1:
            p.seed = random.randrange(2**32)
        shared.state.xyz_plot_x, shared.state.xyz_plot_y, shared.state.xyz_plot_z = map(AxisInfo, options, values)
        try:
            return self._draw(p, options, values)
        finally:
            sd_models.reload_model_weights()

    def _draw(self, p, options, values):
        (xs, ys, zs), found = values, {}
        total = len(xs) * len(ys) * len(zs)
        shared.state.job_count = total * p.n_iter
        for cell in self._order(options, values):
            number = cell[0] + cell[1] * len(xs) + cell[2] * len(xs) * len(ys)
            shared.state.job = f"{number + 1} out of {total}"
            found[number] = self._cell(p, options, values, cell)
        made = [found[number] for number in range(total)]
        size = next((each.images[0].size for each in made if each.images), (p.width, p.height))
        mode = "RGB" if made[0].images else "P"
        pictures = [each.images[0] if each.images else Image.new(mode, size) for each in made]
        sheet = len(xs) * len(ys)
        sheets = [images.image_grid(pictures[place : place + sheet], rows=len(ys)) for place in range(0, total, sheet)]
        infotexts = [each.infotexts[0] if each.images else None for each in made]
        result = copy(made[0])
        result.images, result.infotexts = [images.image_grid(sheets, rows=1), *pictures], [infotexts[0], *infotexts]
        result.index_of_first_image = 1
        return result

    def _order(self, options, values):
        """The cells, by their numbers on x, y, z."""
        costs = [option.cost for option in options]
        is_one_above_all = costs.count(max(costs)) == 1
        loops = sorted(range(3), key=lambda axis: (costs[axis] if is_one_above_all else 0, axis), reverse=True)
        for places in itertools.product(*(range(len(values[axis])) for axis in loops)):
            yield tuple(place for _, place in sorted(zip(loops, places, strict=True)))

    def _cell(self, p, options, values, cell):
        nothing = processing.Processed(p, [], p.seed, "")
        if shared.state.interrupted or shared.state.stopping_generation:
            return nothing
        pc = copy(p)
        for option, all_values, place in zip(options, values, cell, strict=True):
            option.apply(pc, all_values[place], all_values)
        try:
            return processing.process_images(pc)
        except Exception as error:  # a cell that fails is black, and the others go on
            errors.display(error, f"cell {cell}")
            return nothing
