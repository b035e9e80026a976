"""Paint the grids of docs/tiny-models.md with the family: one PNG for each section of the demo's contact sheet.

python -m training.paint_docs --models demo/models --into docs/images
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from lib_chilly.contact_sheet import draw_sheet, paint_sections, save_sheet
from lib_chilly.demo import CARD, STEPS
from lib_chilly.demo_sheet import PARAMS, DemoSheet
from lib_chilly.host.standalone import StandaloneHost


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="where the demo made the family")
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    host = StandaloneHost([arguments.models])
    for section in DemoSheet(arguments.models, CARD.read_text("utf-8"), STEPS).sections():
        name = re.sub(r"\W+", "-", section.title.partition(":")[0].lower()).strip("-")
        path = arguments.into / f"tiny-{name}.png"
        save_sheet(draw_sheet([section], paint_sections(host, [section], PARAMS)), path)
        print(path)


if __name__ == "__main__":
    main()
