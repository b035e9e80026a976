"""Sheets of pictures."""

import math

from PIL import Image, ImageFont

from modules import script_callbacks


def get_font(fontsize):
    return ImageFont.load_default()


def image_grid(imgs, batch_size=1, rows=None):
    rows = min(rows or batch_size, len(imgs))
    params = script_callbacks.ImageGridLoopParams(imgs, math.ceil(len(imgs) / rows), rows)
    script_callbacks.image_grid_callback(params)
    width, height = (max(sides) for sides in zip(*(image.size for image in params.imgs), strict=True))
    grid = Image.new("RGB", (params.cols * width, params.rows * height))
    for number, image in enumerate(params.imgs):
        grid.paste(image, (number % params.cols * width, number // params.cols * height))
    return grid
