"""Reading the kernel's accounting, on text as the kernel writes it and on a process that works for us."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench import accounting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("7 (nginx) S 3 7 7 0 -1 4194560 1 0 0 0 150 50 9 9 20 0 1 0 5 0 0", (3, 200), id="a plain name"),
        pytest.param(
            "7 (wrk:worker) 1) S 3 7 7 0 -1 4194560 1 0 0 0 1 2 9 9 20 0 1 0 5 0 0", (3, 3), id="a name with a bracket and a space"
        ),
    ],
)
def test_stat_gives_the_parent_and_the_ticks_of_the_process_itself(text, expected):
    assert accounting.parse_stat(text) == expected


def test_schedstat_gives_the_nanoseconds_on_a_cpu():
    assert accounting.parse_schedstat("123456789 77225 12\n") == 123456789


def test_pss_is_read_in_bytes_and_its_kinds_are_not_counted_again():
    text = "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:  512 kB\nPss_Anon:  100 kB\nPss_File:  412 kB\n"
    assert accounting.parse_pss(text) == 512 * 1024


def test_pss_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="no Pss"):
        accounting.parse_pss("Rss: 900 kB\n")


@pytest.fixture
def proc(tmp_path):
    """A /proc of three processes: 10 with two threads, its child 11, and 12 that belongs to somebody else."""

    def process(pid: int, parent: int, ticks: int, nanoseconds: list[int], kib: int) -> None:
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (x) S {parent} 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 5")
        (folder / "smaps_rollup").write_text(f"Pss: {kib} kB\n")
        for number, value in enumerate(nanoseconds):
            thread = folder / "task" / str(pid + number)
            thread.mkdir(parents=True)
            (thread / "schedstat").write_text(f"{value} 0 1\n")

    process(10, 1, 30, [100_000_000, 200_000_000], 8)
    process(11, 10, 50, [500_000_000], 4)
    process(12, 1, 900, [9_000_000_000], 100)
    (tmp_path / "meminfo").write_text("")
    return tmp_path


def test_a_program_is_the_process_and_its_descendants(proc):
    assert accounting.tree(10, proc) == [10, 11]


def test_cpu_time_is_that_of_every_thread_of_the_program(proc):
    assert accounting.cpu_seconds(10, proc) == pytest.approx(0.8)


def test_memory_is_that_of_the_program(proc):
    assert accounting.memory_bytes(10, proc) == 12 * 1024


def test_ticks_count_where_the_kernel_keeps_no_nanoseconds(proc):
    (proc / "11" / "task" / "11" / "schedstat").unlink()
    assert accounting.cpu_seconds(10, proc) == pytest.approx(0.3 + 0.5)


def test_what_ended_threads_used_is_not_lost(proc):
    (proc / "10" / "stat").write_text("10 (x) S 1 1 1 0 -1 0 0 0 0 0 700 0 0 0 20 0 1 0 5")
    assert accounting.cpu_seconds(10, proc) == pytest.approx(7.0 + 0.5)


def test_a_real_process_has_spent_what_it_says_it_has():
    code = "import time\nwhile time.process_time() < 0.3: pass\nprint(time.process_time(), flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        said = float(process.stdout.readline())
        counted = accounting.cpu_seconds(process.pid)
        process.communicate("\n")
    assert counted >= said - 0.05
    assert accounting.tree(process.pid) == [process.pid]
