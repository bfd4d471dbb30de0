# SPDX-License-Identifier: GPL-2.0-only
"""Artefacts appear whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import logging
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from toolkit import places, store
from toolkit.deadline import Deadline
from toolkit.errors import StoreError
from toolkit.run import start
from toolkit.store import Store


def _write(directory: Path) -> None:
    (directory / "file").write_text("content", encoding="utf-8")


def test_a_published_artefact_is_found_and_not_made_again(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    assert kept.find("kernels", "abc") is None
    made = []

    def make(directory: Path) -> None:
        made.append(directory)
        _write(directory)

    first = kept.publish("kernels", "abc", make)
    assert kept.publish("kernels", "abc", make) == first == kept.find("kernels", "abc")
    assert (first / "file").read_text(encoding="utf-8") == "content"
    assert len(made) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_failing_make_leaves_nothing_and_the_next_one_starts_afresh(
    tmp_path: Path, error: type[BaseException]
) -> None:
    kept = Store(tmp_path)

    def fail(directory: Path) -> None:
        _write(directory)
        raise error

    with pytest.raises(error):
        kept.publish("kernels", "abc", fail)
    assert kept.find("kernels", "abc") is None
    assert [path.name for path in (tmp_path / "kernels").iterdir()] == [".abc.lock"]
    assert list(kept.publish("kernels", "abc", _write).iterdir())


def test_of_two_runs_at_once_one_makes_and_the_other_waits_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Store(tmp_path)
    makes: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def slow(directory: Path) -> None:
        makes.append("first")
        inside.set()
        assert go_on.wait(10)
        _write(directory)

    def never(directory: Path) -> None:
        makes.append("second")

    caplog.set_level(logging.INFO)
    found: list[Path] = []
    first = threading.Thread(target=lambda: found.append(kept.publish("kernels", "abc", slow)))
    second = threading.Thread(target=lambda: found.append(kept.publish("kernels", "abc", never)))
    first.start()
    assert inside.wait(10)
    second.start()
    deadline = Deadline.after(10)
    while "waiting for another run to finish with kernels abc" not in caplog.text and not deadline.passed:
        time.sleep(0.01)
    go_on.set()
    first.join()
    second.join()
    assert makes == ["first"]
    assert found == [tmp_path / "kernels/abc"] * 2
    assert "waiting for another run to finish with kernels abc" in caplog.text


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib\n"
        "from toolkit.store import Store\n"
        "def make(directory):\n"
        "    (directory / 'half').write_text('x')\n"
        "    pathlib.Path(sys.argv[1], 'inside').touch()\n"
        "    time.sleep(60)\n"
        "Store(pathlib.Path(sys.argv[1])).publish('kernels', 'killed', make)\n"
    )
    with start([sys.executable, "-c", program, tmp_path], cwd=Path(__file__).parents[1]) as process:
        deadline = Deadline.after(20)
        while not (tmp_path / "inside").exists() and not deadline.passed:
            time.sleep(0.01)
        assert (tmp_path / "kernels/.killed.new/half").exists()
        # Its temporary directory is left alone as long as it lives.
        Store(tmp_path).publish("kernels", "other", _write)
        assert (tmp_path / "kernels/.killed.new").exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / "kernels/.killed.new").exists()
    Store(tmp_path).publish("kernels", "another", _write)
    assert not (tmp_path / "kernels/.killed.new").exists()
    assert Store(tmp_path).find("kernels", "killed") is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "let XDG_CACHE_HOME point"),
        (errno.EACCES, "make it writable"),
    ],
)
def test_a_full_or_forbidden_disk_is_the_hosts_trouble_with_a_remedy(
    tmp_path: Path, number: int, words: str
) -> None:
    def fail(directory: Path) -> None:
        raise OSError(number, "words of the system", str(directory / "big"))

    with pytest.raises(StoreError) as caught:
        Store(tmp_path).publish("kernels", "abc", fail)
    assert str(tmp_path / "kernels/.abc.new/big") in caught.value.message
    assert words in caught.value.hint
    assert caught.value.exit_status == 125


def test_a_store_below_a_file_is_not_mistaken_for_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Store(tmp_path / "file").publish("kernels", "abc", _write)


@pytest.mark.parametrize("key", ["", "../x", ".hidden", "a/b"])
def test_a_key_cannot_leave_the_store(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        Store(tmp_path).publish("kernels", key, _write)


def test_an_exclusive_lock_excludes_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with store.exclusive("work-x"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert (places.cache_dir() / "locks/work-x.lock").exists()


def test_a_lock_is_released_when_its_holder_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RuntimeError), store.exclusive("x"):
        raise RuntimeError
    with store.exclusive("x"):
        pass
