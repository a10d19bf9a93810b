"""The log holds nobody up: a pipe that is not read, a reader that is gone, a disk that is full, and a fork in the midst of it."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.telemetry.sink import MOST_WAITING, Sink, open_sink

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0
ROUNDS = 50
LINE = "x" * 99


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Its reading and its writing end."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def read_until(end: int, word: bytes) -> bytes:
    received = b""
    while word not in received:
        part = os.read(end, 65536)
        assert part, received[-200:]
        received += part
    return received


def dropped_in(received: bytes) -> list[int]:
    return [json.loads(line)["lines"] for line in received.splitlines() if b"log.dropped" in line]


def test_lines_come_in_order_and_whole():
    with pipe() as (reading, writing):
        sink = Sink(writing)
        for number in range(100):
            sink.info(f"line {number}")
        sink.flush(PATIENCE)

        assert os.read(reading, 65536).decode().splitlines() == [f"line {number}" for number in range(100)]
        sink.pause(PATIENCE)


def test_a_pipe_that_nobody_reads_holds_nobody_up_and_what_found_no_room_is_counted():
    many = MOST_WAITING + 3000
    with pipe() as (reading, writing):
        sink = Sink(writing)
        for _ in range(many):
            sink.info(LINE)
        sink.flush(0.01)
        received = read_until(reading, b"log.dropped")
        sink.info("the last")
        received += read_until(reading, b"the last\n")
        sink.flush(PATIENCE)

        kept = received.count(LINE.encode())
        assert kept < many
        assert kept + sum(dropped_in(received)) == many
        sink.pause(PATIENCE)


def test_a_reader_that_is_gone_is_no_failure():
    reading, writing = os.pipe()
    os.close(reading)
    sink = Sink(writing)
    for _ in range(3):
        sink.error(LINE)
    sink.flush(PATIENCE)
    sink.pause(PATIENCE)
    os.close(writing)


def test_a_full_disk_is_no_failure_and_is_told_once_there_is_room(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    log = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    sink = Sink(log)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, limits[1]))
        for _ in range(3):
            sink.info(LINE)
        sink.flush(PATIENCE)
        assert (tmp_path / "log").stat().st_size == 150
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        sink.info("room again")
        sink.flush(PATIENCE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
        sink.pause(PATIENCE)
        os.close(log)

    lines = (tmp_path / "log").read_bytes().splitlines()
    assert lines[:3] == [LINE.encode(), LINE.encode()[:50], b"room again"], "a line that was cut has an end of its own"
    assert dropped_in(b"\n".join(lines)) == [2]


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing():
    with pipe() as (reading, writing):
        os.set_blocking(writing, False)
        sink = Sink(writing)
        for _ in range(1500):
            sink.info(LINE)
        sink.info("the last")
        received = read_until(reading, b"the last\n")
        sink.pause(PATIENCE)

        assert received.count(LINE.encode()) == 1500


def test_a_fork_finds_no_thread_and_both_processes_go_on():
    with pipe() as (reading, writing):
        sink = open_sink(writing)
        for _ in range(ROUNDS):
            before = threading.active_count()
            sink.info("from the parent")
            child = os.fork()
            if child == 0:
                alone = threading.active_count() == 1
                sink.info("from the child")
                sink.flush(PATIENCE)
                os._exit(0 if alone else 1)
            assert threading.active_count() <= before
            assert os.waitpid(child, 0)[1] == 0
        sink.info("the end")
        lines = read_until(reading, b"the end\n").splitlines()
        sink.pause(PATIENCE)

        assert lines == [b"from the parent", b"from the child"] * ROUNDS + [b"the end"]


def test_a_fork_while_the_log_is_held_up_leaves_the_waiting_lines_to_the_parent():
    with pipe() as (reading, writing), pipe() as (_, other):
        sink = open_sink(writing)
        for _ in range(1000):
            sink.info(LINE)
        child = os.fork()
        if child == 0:
            os.dup2(other, writing)
            sink.info("from the child")
            sink.flush(PATIENCE)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        sink.info("the end")
        received = read_until(reading, b"the end\n")
        sink.pause(PATIENCE)

        assert received.count(LINE.encode()) == 1000
        assert b"child" not in received
