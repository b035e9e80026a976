"""The launcher's promises, kept by real processes, real venvs and the real pip, but a wheel of one line instead of torch.

Also what a test run promises: which checks it makes, and which skips it allows in CI.
"""

from __future__ import annotations

import ast
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LAUNCHER = REPOSITORY / "chilly"
WINDOWS = os.name == "nt"
STUB = """
import sys
import lib_chilly
print("argv", sys.argv[1:])
print("prefix", sys.prefix)
print("folder", __import__("os").getcwd())
try:
    import pebble
    print("pebble", pebble.VERSION)
except ImportError:
    print("pebble missing")
for name in ("picture", "words", "frame"):
    print(name, "here" if __import__("importlib.util").util.find_spec(name) else "missing")
if "fail" in sys.argv:
    sys.exit(7)
"""


class House:
    """A folder with a copy of the launcher, a stub of the command line, and requirements that need no network."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.venv = folder / ".venv"
        self.python = self.venv / ("Scripts/python.exe" if WINDOWS else "bin/python")
        self.stamp = self.venv / "chilly.stamp"

    @classmethod
    def build(cls, folder: Path) -> House:
        house = cls(folder)
        (folder / "lib_chilly").mkdir(parents=True)
        (folder / "lib_chilly" / "__init__.py").touch()
        (folder / "lib_chilly" / "cli.py").write_text(STUB)
        shutil.copy(LAUNCHER, folder)
        for version in ("1.0", "2.0"):
            make_wheel(folder, version)
        house.require("1.0")
        make_wheel(folder, "1.0", "picture")
        make_wheel(folder, "1.0", "frame")
        make_wheel(folder, "1.0", "words", needs="there-is-no-such-package")
        for name, package in (("preview", "picture"), ("vocabulary", "words"), ("page", "frame"), ("test", "pebble")):
            (folder / f"requirements-{name}.txt").write_text(f"./{package}-1.0-py3-none-any.whl\n")
        return house

    def require(self, version: str) -> None:
        (self.folder / "requirements.txt").write_text(f"./pebble-{version}-py3-none-any.whl\n")

    def command(self, *arguments: str) -> list[str]:
        launcher = str(self.folder / "chilly")
        return [sys.executable, launcher, *arguments] if WINDOWS else [launcher, *arguments]

    def start(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=clean_environment(**environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def clean_environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHILLY_", "PYTHON", "PIP_", "CI"))}
    return {**kept, "PIP_NO_INDEX": "1", **changes}


def make_wheel(folder: Path, version: str, package: str = "pebble", needs: str = "") -> None:
    """A wheel of a package of one module, whose VERSION says which one it is."""
    info = f"{package}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{package}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{package}.py", f"VERSION = {version!r}\n")
        wants = f"Requires-Dist: {needs}\n" if needs else ""
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n{wants}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{package}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[House, list[subprocess.CompletedProcess[str]]]:
    """A house whose first use is over, and what the two starts said that made it at the same time."""
    house = House.build(tmp_path_factory.mktemp("finished") / "a house")
    starts = [
        subprocess.Popen(house.command("one", "two words"), env=clean_environment(), text=True, stdout=-1, stderr=-1)
        for _ in range(2)
    ]
    said = [start.communicate(timeout=120) for start in starts]
    return house, [
        subprocess.CompletedProcess(start.args, start.returncode, *words) for start, words in zip(starts, said, strict=True)
    ]


@pytest.fixture
def house(finished: tuple[House, object], tmp_path: Path) -> House:
    """A copy, for this test alone, of the house whose first use is over."""
    return House(Path(shutil.copytree(finished[0].folder, tmp_path / "a house", symlinks=True)))


def test_first_use_makes_venv_installs_and_runs(finished):
    house, starts = finished
    for start in starts:
        assert start.returncode == 0, start.stderr
        assert "argv ['one', 'two words']" in start.stdout
        assert f"prefix {house.venv}" in start.stdout
        assert "pebble 1.0" in start.stdout
        assert f"folder {Path.cwd()}" in start.stdout


def test_two_first_uses_at_once_make_one_venv(finished):
    _, starts = finished
    said = "".join(start.stderr for start in starts)
    assert said.count("with Python") == 1
    assert said.count("installing ") == 1
    assert said.count("waiting for it") == 1


def test_second_use_calls_no_pip_and_says_nothing(house):
    for pip in house.venv.rglob("site-packages/pip"):
        shutil.rmtree(pip)
    start = house.start("again")
    assert (start.returncode, start.stderr) == (0, "")
    assert "argv ['again']" in start.stdout
    assert "pebble 1.0" in start.stdout


def test_second_use_imports_only_what_python_itself_has_loaded(house):
    def imported(*command: str) -> set[str]:
        said = subprocess.run(
            [sys.executable, "-I", "-S", "-X", "importtime", *command], capture_output=True, text=True, check=True
        )
        return {line.rpartition("|")[2].strip() for line in said.stderr.splitlines() if line.startswith("import time:")}

    assert imported(str(house.folder / "chilly")) == imported("-c", "import os")


def test_exit_code_passes_through(house):
    start = house.start("fail")
    assert (start.returncode, start.stderr) == (7, "")


def test_launcher_is_found_through_a_link(house, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(house.folder / "chilly")
    start = subprocess.run([sys.executable, str(link), "x"], env=clean_environment(), capture_output=True, text=True, check=False)
    assert (start.returncode, start.stderr) == (0, "")
    assert "argv ['x']" in start.stdout


def test_files_in_the_users_folder_shadow_nothing(house, tmp_path):
    (tmp_path / "pebble.py").write_text("raise SystemExit('the wrong pebble')")
    (tmp_path / "runpy.py").write_text("raise SystemExit('the wrong runpy')")
    start = subprocess.run(house.command(), cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (start.returncode, start.stderr) == (0, "")
    assert f"folder {tmp_path}" in start.stdout


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME"])
@pytest.mark.skipif(WINDOWS, reason="Python itself reads them before the launcher starts")
def test_misleading_environment_breaks_nothing(house, tmp_path, name):
    for module in ("os", "pebble", "lib_chilly", "site"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('a stranger was imported')")
    start = house.start("x", **{name: str(tmp_path)})
    assert (start.returncode, start.stderr) == (0, "")
    assert "pebble 1.0" in start.stdout


def _remove_python(house: House) -> None:
    house.python.unlink()


def _break_python(house: House) -> None:
    house.python.unlink()
    house.python.write_text("not a program")
    house.python.chmod(0o755)


@pytest.mark.parametrize("damage", [_remove_python, _break_python])
def test_half_made_venv_mends_itself(house, damage: Callable[[House], None]):
    damage(house)
    start = house.start("x")
    assert start.returncode == 0, start.stderr
    assert "making " in start.stderr
    assert "pebble 1.0" in start.stdout
    assert house.start("x").stderr == ""


def test_changed_requirements_are_installed_into_the_same_venv(house):
    house.require("2.0")
    start = house.start("x")
    assert start.returncode == 0, start.stderr
    assert "installing requirements.txt" in start.stderr
    assert "making " not in start.stderr
    assert "pebble 2.0" in start.stdout
    assert house.start("x").stderr == ""


def test_what_previews_and_the_page_need_is_installed_once_and_for_commands_that_use_it_only(house):
    light = house.start("merge", "demo")
    assert (light.returncode, light.stderr) == (0, "")
    assert "picture missing\nwords missing\nframe missing" in light.stdout
    preview = house.start("bench", "--previews")
    assert preview.returncode == 0, preview.stderr
    assert "installing requirements.txt, requirements-preview.txt and requirements-vocabulary.txt;" in preview.stderr
    assert "picture here\nwords here\nframe missing" in preview.stdout
    page = house.start("demo")
    assert "requirements-vocabulary.txt and requirements-page.txt;" in page.stderr
    assert "frame here" in page.stdout
    for command in ("demo", "ui", "merge"):
        assert house.start(command).stderr == ""


def test_grids_need_what_previews_need():
    launcher = runpy.run_path(str(LAUNCHER))
    needed = [launcher["needed_by"](command) for command in (["grid", "x"], ["bench", "--previews"], ["plan", "grid"])]
    assert needed == [launcher["NEEDED_BY_PREVIEWS"]] * 2 + [launcher["NEEDED"]]


def test_venv_that_somebody_else_made_is_kept(house):
    settings = house.venv / "pyvenv.cfg"
    settings.write_text("".join(line for line in settings.read_text().splitlines(True) if not line.startswith("prompt")))
    house.stamp.unlink()
    mark = house.venv / "mine.txt"
    mark.touch()
    assert house.start("x").returncode == 0
    assert mark.exists()


def test_pip_failure_says_what_to_do_and_leaves_what_was_there(house):
    before = house.stamp.read_bytes()
    (house.folder / "requirements.txt").write_text("there-is-no-such-package==1.0\n")
    start = house.start("x")
    assert (start.returncode, start.stdout) == (2, "")
    assert "No matching distribution found for there-is-no-such-package==1.0" in start.stderr
    assert "Check the network" in start.stderr
    assert "CHILLY_PYTHON" in start.stderr
    assert "Traceback" not in start.stderr
    assert house.stamp.read_bytes() == before


def start_that_hangs_in_pip(house: House) -> subprocess.Popen[str]:
    """A start with changed requirements, its pip replaced by a program that does nothing for two seconds."""
    slow_pip = next(house.venv.rglob("site-packages/pip")) / "__main__.py"
    slow_pip.write_text("import time; open('pip-started', 'w').close(); time.sleep(2); open('pip-ended', 'w').close()\n")
    house.require("2.0")
    start = subprocess.Popen(
        house.command("x"), env=clean_environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not (house.folder / "pip-started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return start


@pytest.mark.skipif(WINDOWS, reason="kills with a POSIX signal")
def test_after_a_kill_in_pip_the_next_start_waits_for_the_orphan_and_begins_anew(house):
    with start_that_hangs_in_pip(house) as first:
        first.kill()
    for module in house.venv.rglob("pebble.py"):  # Half a package: for pip it is installed.
        module.unlink()
    assert not house.stamp.exists()
    second = house.start("x")
    assert (house.folder / "pip-ended").exists()
    assert "waiting for it" in second.stderr
    assert "making " in second.stderr
    assert "pebble 2.0" in second.stdout


@pytest.mark.skipif(WINDOWS, reason="interrupts with a POSIX signal")
def test_interrupt_in_pip_is_a_sentence_and_leaves_what_was_there(house):
    before = house.stamp.read_bytes()
    with start_that_hangs_in_pip(house) as start:
        os.killpg(start.pid, signal.SIGINT)
        _, said = start.communicate(timeout=30)
    assert start.returncode == 130
    assert said.endswith("interrupted. The next start mends what is unfinished.\n")
    assert "Traceback" not in said
    assert house.stamp.read_bytes() == before


def test_chosen_python_is_used_as_it_stands(tmp_path):
    house = House.build(tmp_path / "house")
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "pebble.py").write_text("VERSION = 'from PYTHONPATH'")
    start = house.start("fail", CHILLY_PYTHON=sys.executable, PYTHONPATH=str(tmp_path / "extra"))
    assert (start.returncode, start.stderr) == (7, "")
    assert f"prefix {sys.prefix}" in start.stdout
    assert "pebble from PYTHONPATH" in start.stdout
    assert not house.venv.exists()


def test_chosen_python_that_cannot_run_is_named(tmp_path):
    start = House.build(tmp_path / "house").start("x", CHILLY_PYTHON=str(tmp_path / "nowhere"))
    assert start.returncode == 2
    assert f"CHILLY_PYTHON is '{tmp_path / 'nowhere'}', which cannot be run" in start.stderr
    assert "Traceback" not in start.stderr


@pytest.mark.parametrize("chosen", [True, False], ids=["chosen", "found"])
def test_python_that_is_too_old_is_refused_in_a_sentence(tmp_path, chosen):
    house = House.build(tmp_path / "house")
    launcher = house.folder / "chilly"
    launcher.write_text(launcher.read_text().replace("OLDEST = (3, 10)", "OLDEST = (99, 0)"))
    start = house.start("x", **({"CHILLY_PYTHON": sys.executable} if chosen else {}))
    assert (start.returncode, start.stdout) == (2, "")
    assert "99.0 or newer is needed" in start.stderr
    assert "Traceback" not in start.stderr


def test_launcher_parses_on_old_pythons_and_imports_the_standard_library_only():
    tree = ast.parse(LAUNCHER.read_text(), feature_version=(3, 6))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert set(names) <= set(sys.stdlib_module_names)
    assert {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names} == {"os", "sys"}


@pytest.mark.parametrize("name", [f"requirements{part}.txt" for part in ("", "-preview", "-vocabulary", "-page", "-test")])
def test_every_requirement_is_pinned_exactly(name):
    lines = [line.partition(";")[0].strip() for line in (REPOSITORY / name).read_text().splitlines() if line[:1] != "#"]
    assert lines
    assert all(line.count("==") == 1 and not set(line) & set("<>~!*, ") for line in lines)


SIDE_BY_SIDE = "-n 3 --dist loadfile --no-loadscope-reorder"


def test_test_tools_are_installed_once_and_the_checks_run(house):
    """The tools are stand-ins that print how they were called; those that end in a failure are named."""
    for tool in ("ruff", "mypy", "pytest"):
        (house.folder / f"{tool}.py").write_text(f"import sys; print({tool!r}, *sys.argv[1:]); sys.exit({tool == 'mypy'})")
    first = house.start("test", "--peers")
    assert first.returncode == 1
    assert first.stdout.splitlines() == ["ruff check .", "ruff format --check .", "mypy", f"pytest {SIDE_BY_SIDE} --peers"]
    assert "requirements-vocabulary.txt, requirements-page.txt and requirements-test.txt;" in first.stderr
    assert "failed: mypy." in first.stderr
    second = house.start("test", "tests/test_x.py", "-q")
    assert (second.returncode, second.stdout) == (0, "pytest tests/test_x.py -q\n")
    assert "installing" not in second.stderr
    assert house.start("x").stderr == ""


def test_chosen_python_without_pytest_is_refused_in_a_sentence(house):
    bare = Path(shutil.copytree(house.venv, house.folder / "bare", symlinks=True)) / house.python.relative_to(house.venv)
    start = house.start("test", "-q", CHILLY_PYTHON=str(bare))
    assert (start.returncode, start.stdout) == (2, "")
    lacking = "PIL, axe_playwright_python, clip, diffusers, gradio, hypothesis, playwright, pytest, pytest_timeout, "
    lacking += "schemathesis, transformers, xdist"
    assert f"CHILLY_PYTHON ('{bare}') lacks {lacking}" in start.stderr
    assert f"'{bare} -m pip install --no-deps -r requirements-vocabulary.txt'" in start.stderr
    assert "Traceback" not in start.stderr


@pytest.mark.parametrize(
    ("reason", "ci", "code", "words"),
    [
        ("needs a GPU", "true", 0, "1 allowed skips"),
        ("lark is missing", "", 0, "0 allowed skips"),
        ("lark is missing", "true", 1, "1 skips that CI does not allow"),
    ],
)
def test_ci_fails_for_skips_that_are_not_allowed(tmp_path, reason, ci, code, words):
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_it.py").write_text(
        f"import pytest\ndef test_one(): pass\n@pytest.mark.skip(reason={reason!r})\ndef test_two(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path)]
    run = subprocess.run(
        [*command, str(tmp_path)], env=clean_environment(CI=ci), capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == code, run.stdout
    assert words in run.stdout
