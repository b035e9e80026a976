"""The few settings that are kept: none is lost, whoever keeps another one at the same time, and no save fails for one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lib_chilly.errors import OutputError
from lib_chilly.host.settings import keep_setting, read_setting
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.ui.save_progress import SaveClock

THREADS, EACH = 8, 25


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_settings_that_many_threads_keep_at_once_are_all_kept(home: Path):
    failed = []

    def keep(thread: int) -> None:
        try:
            for number in range(EACH):
                keep_setting(f"{thread} {number}", number)
        except OutputError as error:
            failed.append(error)

    threads = [threading.Thread(target=keep, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    lost = [(thread, number) for thread in range(THREADS) for number in range(EACH) if read_setting(f"{thread} {number}", -1) < 0]
    assert lost == []
    assert [path.name for path in home.iterdir()] == ["options.json"]


def test_pace_that_cannot_be_kept_is_not_the_end_of_a_save(home: Path, tmp_path: Path):
    home.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot be kept"):
        keep_setting("any", 1)
    SaveClock(StandaloneHost([tmp_path])).learn("merge", 10 << 20, 0.1)
