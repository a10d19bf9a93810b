"""An app for uvicorn that writes down each request that it takes for one, and answers with it. ``RECORD`` is the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_RECORD = Path(os.environ["RECORD"])


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    target = scope["raw_path"].decode("latin-1") + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
    with _RECORD.open("a") as record:  # noqa: ASYNC230 - a line at a time, in order
        record.write(f"{scope['method']} {target}\n")
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event.get("body", b""), event.get("more_body", False)
    answer = json.dumps({"method": scope["method"], "target": target, "body": body.decode("latin-1")}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
