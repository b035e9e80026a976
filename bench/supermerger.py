"""SuperMerger's own functions, out of the files of a checkout, without the webui around them."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any


def supermerger_s_own(file: str, *wanted: str, **names: Any) -> dict[str, Any]:
    """Functions, classes and constants of a file below its `scripts`, by their names.

    Args:
        names: what they use that is not among them.
    """
    path = Path(os.environ["CHILLY_SUPERMERGER"]) / "scripts" / file
    body = [
        node
        for node in ast.parse(path.read_text("utf-8")).body
        if getattr(node, "name", "") in wanted or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in wanted)
    ]
    exec(compile(ast.Module(body, []), str(path), "exec"), names)
    return names
