"""What a Python process holds, told over a Unix socket: unfinished tasks and living objects by kind. For processes with this on PYTHONPATH.

``INSPECTED`` is the path of the socket; each connection to it gets one JSON document. A thread of its own answers, so that the program's
event loop neither knows nor helps. Nothing of the program's is replaced. What the loop had to log is told too.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
import threading
import traceback
from collections import Counter
from pathlib import Path

from typing_extensions import override

_unhandled: list[str] = []


class _Unhandled(logging.Filter):
    """Keeps what passes here, and lets it pass."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        _unhandled.append(record.getMessage() + "".join(traceback.format_exception(*record.exc_info) if record.exc_info else ()))
        return True


def _told() -> bytes:
    gc.collect()
    tasks: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        if issubclass(kind, asyncio.Task):
            if not thing.done():
                tasks[getattr(thing.get_coro(), "__qualname__", "?")] += 1
        elif str(kind.__module__).startswith(("gateway.", "aiohttp.web", "uvloop")):  # some modules' names are no strings
            objects[f"{kind.__module__}.{kind.__qualname__}"] += 1
    return json.dumps({"tasks": tasks, "objects": objects, "unhandled": _unhandled}).encode()


def _tell(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(_told())


def _listen(path: str) -> None:
    logging.getLogger("asyncio").addFilter(_Unhandled())
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=_tell, args=(listener,), daemon=True).start()


if os.environ.get("INSPECTED"):
    _listen(os.environ["INSPECTED"])
