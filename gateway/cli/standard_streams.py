"""Standard output and error as a terminal, a pipe or a disk may have them: closed, full, read no further, or without most letters.

Answers the end of everybody's sessions that is told as a failure because a pipe was one: what was done is done, and whoever prints is told
whether it got out. Nothing is left behind for the interpreter to fail with at its exit.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


def prepare() -> None:
    """Once, before anything is opened: a closed stream's number goes to no file or connection, and no letter stops a list."""
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stdin, stdout, stderr
        pass
    os.close(nowhere)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def say(text: str) -> bool:
    """Print a line on standard output; False when it could not be written. A reader who has read enough is none who misses it."""
    refusal = _write(sys.stdout, text + "\n")
    return refusal is None or isinstance(refusal, BrokenPipeError)


def hand_over(text: str) -> bool:
    """Print a line that is lost if nobody reads it; whether it was written."""
    return sys.stdout is not None and _write(sys.stdout, text + "\n") is None


def complain(text: str) -> None:
    """Print a line on standard error, if there is any."""
    _write(sys.stderr, text + "\n")


def note(text: str) -> None:
    """Write to standard error, if there is any, before anything else is done."""
    _write(sys.stderr, text)


def _write(stream: TextIO | None, text: str) -> OSError | None:
    if stream is None:
        return None
    try:
        stream.write(text)
        stream.flush()
    except OSError as refusal:
        _let_go(stream)
        return refusal
    return None


def _let_go(stream: TextIO) -> None:
    """What it still holds goes nowhere; the interpreter would try it again at its exit, and make that the exit code."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
