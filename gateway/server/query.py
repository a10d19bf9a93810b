"""One parameter of a query or a form, once: a doubled one is refused, since two readers could take two values."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from gateway.errors import RequestRefused, RequestTooLarge

if TYPE_CHECKING:
    from aiohttp import web

FIELDS = 32
"""More parameters than any page of ours sends."""
FORM_BYTES = 16 * 1024


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
        RequestTooLarge: the form is larger than ``FORM_BYTES``.
    """
    asked = one_value(request, name)
    if not request.body_exists:
        return asked
    if request.content_type != "application/x-www-form-urlencoded":
        raise RequestRefused("form body of another media type")
    body = b""
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > FORM_BYTES:
            raise RequestTooLarge("form body")
    try:
        sent = _only(body.decode("ascii"), name)
    except UnicodeDecodeError as wrong:
        raise RequestRefused("form body that is not ASCII") from wrong
    if asked is not None and sent is not None:
        raise RequestRefused(f"{name} in the query and in the form")
    return sent if asked is None else asked


def _only(text: str, name: str) -> str | None:
    try:
        values = [value for key, value in parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS) if key == name]
    except ValueError as wrong:
        raise RequestRefused("too many parameters") from wrong
    if len(values) > 1:
        raise RequestRefused(f"{name} more than once")
    return values[0] if values else None
