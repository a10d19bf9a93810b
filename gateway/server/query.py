"""One parameter of a query or a form, once: a doubled one is refused, since two readers could take two values."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from gateway.errors import RequestRefused, RequestTimeout, RequestTooLarge

if TYPE_CHECKING:
    from aiohttp import web

FIELDS = 32
"""More parameters than any page of ours sends."""
FORM_BYTES = 16 * 1024
FORM_SECONDS = 10.0
"""For a form of a few hundred bytes."""


def one_value(request: web.BaseRequest, name: str) -> str | None:
    """The value of ``name`` in the query, decoded once; None when it is not there.

    Raises:
        RequestRefused: it is there more than once, or there are too many parameters.
    """
    return _only(request.raw_path.partition("?")[2], name)


async def one_value_of_form(request: web.Request, name: str) -> str | None:
    """The value of ``name`` in the query or in a urlencoded form body, whichever has it.

    Raises:
        RequestRefused: both have it, or one has it twice.
        RequestTimeout: it stopped coming.
        RequestTooLarge: the form is larger than ``FORM_BYTES``.
    """
    asked = one_value(request, name)
    if not request.body_exists:
        return asked
    if request.content_type != "application/x-www-form-urlencoded":
        raise RequestRefused("form body of another media type")
    body = await _form_body(request)
    try:
        sent = _only(body.decode("ascii"), name)
    except UnicodeDecodeError as wrong:
        raise RequestRefused("form body that is not ASCII") from wrong
    if asked is not None and sent is not None:
        raise RequestRefused(f"{name} in the query and in the form")
    return sent if asked is None else asked


async def _form_body(request: web.Request) -> bytes:
    if "Expect" in request.headers:
        # Only now is the body wanted (RFC 9110 section 10.1.1): whoever was refused before was not asked for it.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = b""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > FORM_BYTES:
                    raise RequestTooLarge("form body")
    except TimeoutError as late:
        raise RequestTimeout("form body") from late
    return body


def _only(text: str, name: str) -> str | None:
    try:
        values = [value for key, value in parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS) if key == name]
    except ValueError as wrong:
        raise RequestRefused("too many parameters") from wrong
    if len(values) > 1:
        raise RequestRefused(f"{name} more than once")
    return values[0] if values else None
