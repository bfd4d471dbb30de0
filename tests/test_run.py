# SPDX-License-Identifier: GPL-2.0-only
"""Programs end as told, in time, and never outlive us."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from toolkit.deadline import Deadline
from toolkit.errors import DeadlineError, MissingToolError, ProgramError
from toolkit.run import PIPE, package_of, require, run, start, wait

SOON = 20.0


def _soon() -> Deadline:
    return Deadline.after(SOON)


def _alive(pid: int) -> bool:
    """Whether a process runs: neither gone nor a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False


def _all_end(pids: Iterable[int]) -> bool:
    """Whether they are gone within moments: a killed process may wait for its turn to die."""
    deadline = _soon()
    waiting = set(pids)
    while waiting and not deadline.passed:
        waiting = set(filter(_alive, waiting))
        time.sleep(0.01)
    return not waiting


def _wait_for(path: Path) -> str:
    deadline = _soon()
    while not deadline.passed:
        if path.exists() and path.read_text(encoding="utf-8").endswith("\n"):
            return path.read_text(encoding="utf-8")
        time.sleep(0.01)
    raise AssertionError(f"{path} never came")


def test_both_outputs_and_the_status_come_back() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], deadline=_soon(), ok=(3,))
    assert (done.status, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert done.argv == ("sh", "-c", "echo out; echo err >&2; exit 3")


def test_another_status_is_an_error_with_the_command_and_its_words() -> None:
    with pytest.raises(ProgramError) as caught:
        run(["sh", "-c", "echo 'it broke' >&2; exit 7"], deadline=_soon())
    assert "ended with status 7" in caught.value.message
    assert "sh -c 'echo '" in caught.value.message
    assert caught.value.detail == "it broke\n"


def test_any_status_is_accepted_on_request() -> None:
    assert run(["false"], deadline=_soon(), ok=None).status == 1


def test_stdin_is_closed_unless_given() -> None:
    assert run(["cat"], deadline=_soon()).stdout == ""
    assert run(["cat"], deadline=_soon(), stdin=b"words").stdout == "words"


def test_the_environment_is_laid_over_ours_and_the_locale_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGELESS_TEST", "ours")
    monkeypatch.setenv("LC_ALL", "de_DE")
    shown = run(["sh", "-c", 'echo "$PAGELESS_TEST $LC_ALL $X"'], deadline=_soon(), env={"X": "1"}).stdout
    assert shown == "ours C.UTF-8 1\n"


def test_the_directory_is_the_programs_alone(tmp_path: Path) -> None:
    before = Path.cwd()
    assert run(["pwd"], deadline=_soon(), cwd=tmp_path).stdout == f"{tmp_path}\n"
    assert Path.cwd() == before


def test_a_log_takes_both_outputs_and_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n", encoding="utf-8")
    done = run(["sh", "-c", "echo out; echo err >&2"], deadline=_soon(), log=log)
    assert (done.stdout, done.stderr) == ("", "")
    assert log.read_text(encoding="utf-8") == "before\nout\nerr\n"
    with pytest.raises(ProgramError) as caught:
        run(["sh", "-c", "echo why; exit 1"], deadline=_soon(), log=log)
    assert caught.value.detail.endswith("why\n")
    assert str(log) in caught.value.hint


def test_lines_are_handed_on_as_they_come(tmp_path: Path) -> None:
    seen: list[tuple[float, str]] = []
    run(
        ["sh", "-c", "echo one; sleep 0.3; echo two >&2"],
        deadline=_soon(),
        log=tmp_path / "log",
        on_line=lambda line: seen.append((time.monotonic(), line)),
    )
    assert [line for _, line in seen] == ["one", "two"]
    assert seen[1][0] - seen[0][0] > 0.1
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\ntwo\n"


@pytest.mark.parametrize("followed", [False, True])
def test_the_deadline_ends_the_program_and_its_children(tmp_path: Path, followed: bool) -> None:
    began = time.monotonic()
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $$ $! > {pids}; wait"
    with pytest.raises(DeadlineError, match="did not end in time"):
        run(
            ["sh", "-c", script],
            deadline=Deadline.after(1.0),
            on_line=(lambda line: None) if followed else None,
        )
    assert time.monotonic() - began < 10
    assert _all_end(map(int, _wait_for(pids).split()))


def test_an_exception_while_following_ends_the_program(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def refuse(line: str) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError, match="hello"):
        run(
            ["sh", "-c", f"echo $$ > {pids}; echo hello; exec sleep 60"],
            deadline=_soon(),
            on_line=refuse,
        )
    assert _all_end([int(_wait_for(pids))])


def test_a_started_program_ends_with_its_context_children_and_all(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with start(["sh", "-c", f"sleep 60 & echo $$ $! > {pids}; wait"]):
        found = [int(pid) for pid in _wait_for(pids).split()]
        assert all(map(_alive, found))
    assert _all_end(found)


def test_a_started_program_does_not_outlive_even_a_killed_parent(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = (
        "import sys, time\n"
        "from toolkit.run import start\n"
        f"with start(['sh', '-c', 'echo $$ > {pids}; exec sleep 60']):\n"
        "    time.sleep(60)\n"
    )
    with start([sys.executable, "-c", program], cwd=Path(__file__).parents[1]) as parent:
        pid = int(_wait_for(pids))
        assert _alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        deadline = _soon()
        while _alive(pid) and not deadline.passed:
            time.sleep(0.01)
        assert not _alive(pid)


def test_waiting_for_a_started_program_keeps_the_deadline() -> None:
    with start(["sleep", "60"]) as process:
        assert wait(process, Deadline.after(0.05)) is None
    with start(["sh", "-c", "exit 4"]) as process:
        assert wait(process, _soon()) == 4


def test_a_program_can_be_fed_from_several_threads_at_once() -> None:
    results: dict[int, str] = {}

    def work(number: int) -> None:
        results[number] = run(["cat"], deadline=_soon(), stdin=f"{number}".encode()).stdout

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: str(number) for number in range(4)}


def test_a_stream_of_a_started_program_can_be_read() -> None:
    with start(["echo", "hello"], stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"hello\n"


@pytest.mark.parametrize(
    ("tool", "package"),
    [("no-such-tool", "no-such-tool"), ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")],
)
def test_a_missing_tool_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tool: str, package: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=f"{tool} is not installed") as caught:
        require(tool)
    assert caught.value.hint.startswith(f"apt-get install {package},")
    assert caught.value.exit_status == 125
    with pytest.raises(MissingToolError):
        run([tool], deadline=_soon())


@pytest.mark.parametrize(
    ("tool", "package"),
    [
        ("make", "make"),
        ("ld", "binutils"),
        ("clang-14", "clang-14"),
        ("ld.lld-14", "lld-14"),
        ("aarch64-linux-gnu-ld", "binutils-aarch64-linux-gnu"),
        ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
    ],
)
def test_a_tools_package_is_the_one_that_debian_has_it_in(tool: str, package: str) -> None:
    assert package_of(tool) == package


def test_of_several_that_wait_for_a_program_each_is_told_how_it_ended() -> None:
    with start(["sh", "-c", "sleep 0.2; exit 7"]) as process, ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(wait, process, _soon()) for _ in range(8)]
        assert [each.result() for each in waiting] == [7] * 8
        assert wait(process, Deadline.after(0)) == 7
