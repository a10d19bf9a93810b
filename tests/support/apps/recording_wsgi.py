"""An app for gunicorn that writes down each request that it takes for one, and answers with it. ``RECORD`` is the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_RECORD = Path(os.environ["RECORD"])


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    method, target = environ["REQUEST_METHOD"], environ["RAW_URI"]
    with _RECORD.open("a") as record:
        record.write(f"{method} {target}\n")
    body = environ["wsgi.input"].read()
    answer = json.dumps({"method": method, "target": target, "body": body.decode("latin-1")}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
