"""The house's own rules: imports run down the layers, rooms stay small, nothing runs what it reads, README shows the registry."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lib_chilly.methods_page import families_table

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lib_chilly"

LAYERS = {
    0: "__init__ dtypes errors",
    1: "architecture checkpoint database diffusers_configs diffusers_flux_keys diffusers_folder diffusers_keys fileio"
    " folder_writer hashes header latents models own_files prediction rounding safetensors_header tensor_views text_files"
    " torch_names torch_pickle torch_zip writer zip_records",
    2: "assignment barycentres bit_masks block_rules blocks decimals deltas dot_products draws lora_file lora_keys"
    " lora_module lora_roles lora_shapes methods/* number_lists registry row_ranks selection signature smoothing"
    " unit_groups",
    3: "addresses expression extraction lora_prompt methods_page notations/* random_weights recipe recipe_check"
    " recipe_lines recipe_save recipe_text recipe_tree",
    4: "absence claims dendrogram descent diffusers_parts fold gains grid_plan health_keys history jobs key_job"
    " known_good ledger licences linear_form lora_plan lora_source matchings memory method_nodes modelspec origins"
    " output_dtypes permissions placement plan plan_options plan_words provenance sidecar similarity_edits sources"
    " unknown_models vae verdicts",
    5: "asim card card_hashes card_origin card_pages card_permissions card_pictures compared converting copying"
    " diffusers_output exact_product grams health inspection kernel known_lanes lane_changes lane_health likeness live"
    " lora_change lora_delta lora_join lora_kinds lora_output lora_reading lora_values low_rank matching measure"
    " node_kernel pass_choice pass_health passes reading recorded_library report resident resident_sources resident_table"
    " room shared_layers similarity slabs staging stream summing tally tensor_statistics triton_pass verification"
    " verified_tensors weights workers",
    6: "canvas console engine host/* recipe_queue similarity_plots similarity_words",
    7: "argument_types arguments card_command cli contact_sheet demo demo_models demo_sheet family family_config"
    " grid_arguments grid_command grid_sheet known_good_command ledger_command looking_arguments merge_commands"
    " queue_command recipe_argument similarity_arguments similarity_command similarity_models synth ui/* verify_command"
    " host/api_answers host/api_forms host/api_routes host/webui_api host/webui_axes host/webui_cells host/webui_entry"
    " host/webui_failures host/webui_grid host/webui_request host/webui_script",
}
"""A file may import from its own layer and from those below: those with smaller numbers."""
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names.split()}

MOST_LINES, MOST_FUNCTION_LINES = 250, 40
TESTS = ROOT / "tests"
SMALL_ROOMS = (PACKAGE, ROOT / "bench", ROOT / "training", ROOT / "scripts", TESTS / "webui")
"""Where both hold. Functions of all tests are short too, but for those that follow a user through a browser."""


def layer_of(name: str, layers: Mapping[str, int]) -> int | None:
    """The layer of a module such as `plan` or `methods/linear`; None where the table does not have it."""
    return layers.get(name, layers.get(f"{name.partition('/')[0]}/*"))


def modules(package: Path) -> dict[str, ast.Module]:
    """Every file of a package without its suffix, in forward slashes, and what stands in it."""
    files = sorted(package.rglob("*.py"))
    return {path.relative_to(package).with_suffix("").as_posix(): ast.parse(path.read_text("utf-8")) for path in files}


def imports(name: str, tree: ast.Module, package: str, known: Mapping[str, ast.Module]) -> Iterator[str]:
    """The modules of its own package that a module imports anywhere, also for types alone and inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = name.split("/")[: -node.level] if node.level else []
            base = ".".join([*([package, *above] if node.level else []), *([node.module] if node.module else [])])
            targets = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            parts = target.split(".")
            if parts[0] == package:
                # What is imported may be a module, or a name out of one, or out of a folder's __init__.
                ways = ("/".join(parts[1:]), "/".join(parts[1:-1]), "/".join([*parts[1:-1], "__init__"]))
                yield next((way for way in ways if way in known), "__init__")


def broken_imports(package: Path, layers: Mapping[str, int]) -> list[str]:
    """A sentence for each import that runs up, and for each file that the table does not have."""
    trees = modules(package)
    found = [f"{package.name}/{name}.py has no layer; add it to LAYERS." for name in trees if layer_of(name, layers) is None]
    for name, tree in trees.items():
        for target in dict.fromkeys(imports(name, tree, package.name, trees)):
            own, other = layer_of(name, layers), layer_of(target, layers)
            if own is not None and other is not None and other > own:
                found.append(f"{package.name}/{name}.py (L{own}) imports {target}.py (L{other})")
    return found


def cycles(package: Path) -> list[str]:
    """The modules that, directly or not, import themselves."""
    trees = modules(package)
    reached = {name: set(imports(name, tree, package.name, trees)) for name, tree in trees.items()}
    for _ in trees:
        for targets in reached.values():
            targets |= set().union(*(reached[target] for target in targets))
    return sorted(name for name, targets in reached.items() if name in targets)


def test_imports_run_down_the_layers_only():
    assert broken_imports(PACKAGE, LAYER_OF) == []


def test_table_of_layers_names_no_file_that_is_gone():
    present = modules(PACKAGE)
    assert [name for name in LAYER_OF if name not in present and not name.endswith("/*")] == []


def test_no_module_imports_itself_by_way_of_others():
    assert cycles(PACKAGE) == []


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A package of which only plan.py is missing."""
    house = tmp_path / "house"
    (house / "parts").mkdir(parents=True)
    (house / "__init__.py").write_text("word = 1")
    (house / "stream.py").write_text("")
    (house / "parts" / "wheel.py").write_text("from .. import plan\nfrom ..plan import Plan")
    return house


UP = "house/plan.py (L4) imports stream.py (L5)"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from .stream import stream", [UP]),
        ("from house import stream", [UP]),
        ("import house.stream", [UP]),
        ("def plan():\n    from . import stream", [UP]),
        ("if TYPE_CHECKING:\n    from .stream import Stream", [UP]),
        ("from .parts.wheel import turn", ["house/plan.py (L4) imports parts/wheel.py (L6)"]),
        ("from . import word", []),
        ("import json, os.path\nfrom os import stream", []),
    ],
)
def test_import_that_runs_up_is_said_in_a_sentence(house: Path, line: str, said: list[str]):
    (house / "plan.py").write_text(line)
    assert broken_imports(house, {"__init__": 0, "plan": 4, "stream": 5, "parts/*": 6}) == said
    assert broken_imports(house, {"__init__": 0, "plan": 4, "stream": 4, "parts/*": 4}) == []


def test_file_without_a_layer_is_said_in_a_sentence(house: Path):
    (house / "plan.py").write_text("")
    assert broken_imports(house, {"__init__": 0, "plan": 4, "parts/*": 4}) == ["house/stream.py has no layer; add it to LAYERS."]


def test_cycle_by_way_of_another_module_is_found(house: Path):
    (house / "plan.py").write_text("from . import stream")
    assert cycles(house) == []
    (house / "stream.py").write_text("def later():\n    from .parts import wheel")
    assert cycles(house) == ["parts/wheel", "plan", "stream"]


def test_low_layers_import_without_torch_gradio_and_the_webui():
    names = [name.replace("/", ".") for name in modules(PACKAGE) if (layer_of(name, LAYER_OF) or 0) <= 4 and name != "__init__"]
    assert "plan" in names and "methods.linear" in names
    script = (
        "import sys, importlib\n"
        "sys.modules.update(dict.fromkeys(['torch', 'gradio', 'modules']))\n"
        "import lib_chilly\n"
        f"for name in {names!r}: importlib.import_module(f'lib_chilly.{{name}}')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [name for name in modules(PACKAGE) if drawers & set(name.split("/")[-1].split("_"))] == []


def test_no_file_has_more_than_250_lines():
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for room in SMALL_ROOMS for path in room.rglob("*.py")}
    assert {name: count for name, count in lengths.items() if count > MOST_LINES} == {}


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    return lines - ((first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(function) else 0)


def test_no_function_has_more_than_40_lines_of_code():
    lengths = {
        f"{room.name}/{name}.{node.name}": code_lines(node)
        for room in (*SMALL_ROOMS, TESTS)
        for name, tree in modules(room).items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not (room == TESTS and name.startswith("browser/"))
    }
    assert len(lengths) > 200
    assert {name: count for name, count in lengths.items() if count > MOST_FUNCTION_LINES} == {}


FORBIDDEN = {"eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load"}


def calls(tree: ast.Module) -> set[str]:
    """What a module calls, as it is written."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_nothing_that_is_read_is_ever_run():
    found = {f"{name}: {call}" for name, tree in modules(PACKAGE).items() for call in calls(tree) & FORBIDDEN}
    assert found == set()
    assert calls(ast.parse("x = eval(open(f).read()); torch.load(f)")) >= {"eval", "torch.load"}


def imported_packages(tree: ast.Module) -> set[str]:
    """The foreign packages that a module imports, by their first names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def test_only_one_place_may_know_the_hosts():
    hosts = {"gradio", "modules", "fastapi"}
    found = {name: imported_packages(tree) & hosts for name, tree in modules(PACKAGE).items()}
    assert {name for name, packages in found.items() if packages and not name.startswith("host/")} == {"ui/tab"}
    assert {name for name, packages in found.items() if "modules" in packages and not name.startswith("host/webui")} == set()


def test_methods_in_the_readme_are_those_of_the_registry():
    text = (ROOT / "README.md").read_text("utf-8")
    assert text.partition("<!-- methods -->")[2].partition("<!-- /methods -->")[0].strip() == families_table()
