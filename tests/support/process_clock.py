"""A wall clock that a test sets while the process that goes by it runs: what ``time.time`` says there, and nothing else of it.

clock = ProcessClock(folder)
async with gateway(..., environ=clock.environ):
    clock.set(600)              # ten minutes ahead
"""

from __future__ import annotations

from pathlib import Path

import tests

_SITECUSTOMIZE = """\
import time

_right = time.time


def _set():
    with open({offset!r}) as file:
        return _right() + float(file.read())


time.time = _set
"""


class ProcessClock:
    """Python imports ``sitecustomize`` before anything of ours takes ``time.time``; this one has been taken from ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "clock_offset"
        self.set(0)
        (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(offset=str(self._offset)))
        self.environ = {"PYTHONPATH": f"{folder}:{Path(tests.__file__).parents[1]}"}

    def set(self, seconds: float) -> None:
        """So many seconds ahead (or, negative, behind) from now on."""
        written = self._offset.with_suffix(".new")
        written.write_text(str(seconds))
        written.replace(self._offset)
