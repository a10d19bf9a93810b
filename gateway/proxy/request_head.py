"""The head that goes upstream: what may pass of the caller's headers, then the gateway's own, then one framing.

Answers invariants 2, 3 and 4. Nothing here comes from a caller that ``request_headers`` has not looked at, and what the gateway adds
stands behind it, under names that no caller can use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import HeadersRefused, TargetRefused
from gateway.proxy.framing import Delimiter
from gateway.proxy.headers import Treatment
from gateway.proxy.request_headers import PSEUDONYM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.proxy.framing import Framing
    from gateway.proxy.headers import HeaderRules
    from gateway.proxy.request_headers import RequestHeaders

_NOBODY_ELSES = (Treatment.DROP, Treatment.TOLD)
_VIA = {http10: b"Via: 1.%d %b\r\n" % (0 if http10 else 1, PSEUDONYM) for http10 in (False, True)}


class RequestHead(NamedTuple):
    """The bytes of a request's head, and how its body is framed."""

    raw: bytes
    framing: Framing


def our_headers(pairs: Iterable[tuple[bytes, bytes]], rules: HeaderRules) -> bytes:
    """Headers of the gateway's as whole lines; rendered once for many requests, and so checked once.

    Raises HeadersRefused for a name that callers could set too, and for a value that would make a line of its own.
    """
    block = b""
    for name, value in pairs:
        if rules.treatment(name) not in _NOBODY_ELSES:
            raise HeadersRefused("a header of the gateway's that callers could set too")
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise HeadersRefused("a header of the gateway's holds a line break or NUL")
        block += b"%b: %b\r\n" % (name, value)
    return block


def request_head(  # noqa: PLR0913 - what a request is made of
    method: str,
    target: str,
    headers: RequestHeaders,
    *,
    identity: bytes,
    forwarded: bytes,
    host: bytes | None,
    http10: bool = False,
    upgrade: bytes | None = None,
    persistent: bool = False,
) -> RequestHead:
    """The head to send for a request that was allowed.

    ``target`` goes out byte for byte. ``identity`` and ``forwarded`` are the gateway's own headers as ``our_headers`` made them, and are
    set last. ``host`` replaces the caller's Host when not None. ``http10`` says which version the caller spoke, ``upgrade`` the one
    protocol to ask for, ``persistent`` whether the upstream connection is wanted again.

    Raises HeadersRefused for a header that would make a line of its own, TargetRefused for a target that would break the request line.
    """
    _check_target(target)
    if headers.chunked:
        framing: Framing = Delimiter.CHUNKS
        last = b"Transfer-Encoding: chunked\r\n"
    elif headers.length is None:
        framing, last = Delimiter.NOTHING, b""
    else:
        framing, last = headers.length, b"Content-Length: %d\r\n" % headers.length
    if upgrade is not None:
        last += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade
    elif not persistent:
        last += b"Connection: close\r\n"
    start = f"{method} {target} HTTP/1.1\r\nHost: ".encode("ascii")
    passed = headers.lines
    raw = b"".join((start, host or headers.host, b"\r\n", *passed, _VIA[http10], forwarded, identity, last, b"\r\n"))
    # Whatever a parser or a mapping let through: a value that makes a line of its own never leaves.
    ends = len(passed) + 4 + forwarded.count(b"\n") + identity.count(b"\n") + last.count(b"\n")
    if raw.count(b"\n") != ends or raw.count(b"\r") != ends or b"\0" in raw:
        raise HeadersRefused("a header holds a line break or NUL")
    return RequestHead(raw, framing)


def request_head_without_body(  # noqa: PLR0913 - what a request is made of
    method: str, target: str, passed: bytes, *, identity: bytes, forwarded: bytes, host: bytes, persistent: bool
) -> bytes:
    """The same for an HTTP/1.1 request that has no body and asks for no upgrade.

    ``passed`` are the lines that may pass, whole ones: it was seen before that none of them is more than one. Raises TargetRefused.
    """
    _check_target(target)
    last = b"\r\n" if persistent else b"Connection: close\r\n\r\n"
    start = f"{method} {target} HTTP/1.1\r\nHost: ".encode("ascii")
    return b"".join((start, host, b"\r\n", passed, _VIA[False], forwarded, identity, last))


def with_host(head: bytes, host: bytes) -> bytes:
    """The bytes of a ``RequestHead`` for another ``host``, which is a valid one: Host is always the second line."""
    request_line, _, rest = head.split(b"\r\n", 2)
    return b"%b\r\nHost: %b\r\n%b" % (request_line, host, rest)


def _check_target(target: str) -> None:
    if target[:1] not in {"/", "*"} or not target.isascii() or not target.isprintable() or " " in target:
        raise TargetRefused("the target does not fit a request line")
