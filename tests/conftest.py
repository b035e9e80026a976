"""What holds for every test: the option --peers, that CI skips nothing but what cannot run there, how a command is run, and which
sockets were used."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

if os.environ.get("CI"):  # where a property does not say how many examples it needs, these do
    settings.register_profile("chilly", settings.get_profile("ci"), max_examples=20)
    settings.load_profile("chilly")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the cores have a process each

ALLOWED_SKIPS = ("CHILLY_WEBUI", "GPU", "peers")
"""A skip is allowed in CI when its reason says one of these words."""

_SOCKETS: list[tuple[object, ...]] = []


def _note(event: str, given: tuple[object, ...]) -> None:
    if event.startswith("socket."):
        _SOCKETS.append((event, *(each for each in given if isinstance(each, (str, bytes, int, tuple)))))


sys.addaudithook(_note)  # it cannot be taken back, and a module that was imported before cannot evade it


@pytest.fixture
def sockets() -> list[tuple[object, ...]]:
    """What this process has done with sockets since it began, and does: Python's audit event, then addresses and numbers."""
    return _SOCKETS


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peers", action="store_true", help="also compare with other mergers; they must be installed")


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in a home of its own: (exit code, stdout, stderr)."""
    from lib_chilly import cli

    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CHILLY_MODELS", raising=False)

    def command(*arguments: object) -> tuple[int, str, str]:
        code = cli.main(list(map(str, arguments)))
        return code, *capsys.readouterr()

    return command


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """A worker takes a file at a time; the first of them takes all tests in a webui, as a webui takes long to start."""
    from xdist.scheduler import LoadFileScheduling

    class OneHouse(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/webui" if nodeid.startswith("tests/webui/") else super()._split_scope(nodeid)

    return OneHouse(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith("tests/webui/"))
    if config.getoption("--peers"):
        return
    for item in items:
        if item.get_closest_marker("peers"):
            item.add_marker(pytest.mark.skip(reason="compares with peers; run with --peers"))


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.collect()
    gc.freeze()  # all that was imported and collected stays: it is not to be looked through again and again
    gc.set_threshold(20_000, 20, 20)


def pytest_sessionfinish(session: pytest.Session) -> None:
    is_worker = hasattr(session.config, "workerinput")
    if os.environ.get("CI") and not is_worker and not all(map(_is_allowed, _skip_reasons(session.config))):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reasons = _skip_reasons(config)
    refused = [reason for reason in reasons if not _is_allowed(reason)]
    reporter.write_line(f"{len(reasons) - len(refused)} allowed skips ({', '.join(ALLOWED_SKIPS)})")
    if os.environ.get("CI") and refused:
        reporter.write_line(f"{len(refused)} skips that CI does not allow, so this run fails:", red=True)
        for reason in sorted(set(refused)):
            reporter.write_line(f"  {reason}", red=True)


def _skip_reasons(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])]


def _is_allowed(reason: str) -> bool:
    return any(word in reason for word in ALLOWED_SKIPS)
