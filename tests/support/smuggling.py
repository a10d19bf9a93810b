"""The corpus of framing faults: what a first server reads in one way and a second in another, as tables of raw bytes.

What would be smuggled is ``SMUG``. Nobody without a session gets ``/smug``; so it reaches an app only if it was not judged.
"""

from __future__ import annotations

import pytest

SMUG = b"GET /smug HTTP/1.1\r\nHost: app.example\r\n\r\n"
AFTER = b"GET /after HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"
SOMETHING = b"3\r\nabc\r\n0\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

HEADS = [
    pytest.param(b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", id="SM-01 CL.TE"),
    pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + SMUG, id="SM-02 TE.CL"),
    pytest.param(b"Transfer-Encoding: chunked, identity\r\n\r\n" + LAST + SMUG, id="SM-04 chunked is not the last"),
    pytest.param(b"Transfer-Encoding: identity, chunked\r\n\r\n" + LAST + SMUG, id="SM-05 two codings"),
    pytest.param(b"Transfer-Encoding: gzip, chunked\r\n\r\n" + LAST + SMUG, id="SM-05 compressed"),
    pytest.param(b"Transfer-Encoding: xchunked\r\n\r\n" + LAST + SMUG, id="SM-07 xchunked"),
    pytest.param(b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n" + LAST + SMUG, id="SM-07 xchunked beside a length"),
    pytest.param(b"Transfer-Encoding: chunked123\r\n\r\n" + LAST + SMUG, id="SM-07 chunked123"),
    pytest.param(b"Transfer-Encoding: chunk\r\n\r\n" + LAST + SMUG, id="SM-07 chunk"),
    pytest.param(b"Transfer-Encoding: ,chunked\r\n\r\n" + LAST + SMUG, id="SM-08 a comma in front"),
    pytest.param(b"Transfer-Encoding: chunked,\r\n\r\n" + LAST + SMUG, id="SM-10 a comma behind"),
    pytest.param(b'Transfer-Encoding: "chunked"\r\n\r\n' + LAST + SMUG, id="SM-10 double quotes"),
    pytest.param(b"Transfer-Encoding: 'chunked'\r\n\r\n" + LAST + SMUG, id="SM-10 single quotes"),
    pytest.param(b"Transfer-Encoding: chunked;q=1\r\n\r\n" + LAST + SMUG, id="SM-10 a parameter"),
    pytest.param(b"Transfer-Encoding: \r\nContent-Length: 3\r\n\r\nabc" + SMUG, id="SM-11 empty, beside a length"),
    pytest.param(b"Transfer-Encoding:\r\n\r\n" + SMUG, id="SM-11 empty"),
    pytest.param(CHUNKED + CHUNKED + b"\r\n" + LAST + SMUG, id="SM-13 twice"),
    pytest.param(b"Transfer-Encoding: chunked, chunked\r\n\r\n" + LAST + SMUG, id="SM-13 twice in one line"),
    pytest.param(b"Transfer-Encoding : chunked\r\n\r\n" + LAST + SMUG, id="SM-16 a space before the colon"),
    pytest.param(b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n" + LAST + SMUG, id="SM-16 a folded line"),
    pytest.param(b"Transfer-Encoding:\r\n chunked\r\n\r\n" + LAST + SMUG, id="SM-16 a folded value"),
    pytest.param(b"Transfer-\r\nEncoding: chunked\r\n\r\n" + LAST + SMUG, id="SM-16 a broken name"),
    pytest.param(b"Transfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc" + SMUG, id="SM-17 an underscore"),
    pytest.param(b"X: X\rTransfer-Encoding: chunked\r\n\r\n" + LAST + SMUG, id="SM-19 a bare CR"),
    pytest.param(b"X: X\nTransfer-Encoding: chunked\r\n\r\n" + LAST + SMUG, id="SM-19 a bare LF"),
    pytest.param(b"X: X\0\r\nContent-Length: 3\r\n\r\nabc" + SMUG, id="SM-19 NUL"),
    pytest.param(b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" + SMUG, id="SM-22 a length twice"),
    pytest.param(b"Content-Length: 3, 3\r\n\r\nabc" + SMUG, id="SM-22 a length twice in one line"),
    pytest.param(b"Content-Length: 3\r\nContent-Length: 0\r\n\r\nabc" + SMUG, id="SM-23 two lengths"),
    pytest.param(b"Content-Length: 0\r\nContent-Length: 3\r\n\r\nabc" + SMUG, id="SM-23 two lengths, the other way"),
    pytest.param(b"Content-Length: 3, 4\r\n\r\nabc" + SMUG, id="SM-23 two lengths in one line"),
    pytest.param(b"Content-Length: 0, 3\r\n\r\nabc" + SMUG, id="SM-23 nought and a length"),
    pytest.param(b"Content-Length: \r\n\r\n" + SMUG, id="SM-25 no length"),
    pytest.param(b"Content-Length: +3\r\n\r\nabc" + SMUG, id="SM-25 a sign"),
    pytest.param(b"Content-Length: 0x3\r\n\r\nabc" + SMUG, id="SM-25 hexadecimal"),
    pytest.param(b"Content-Length: 99999999999999999999999\r\n\r\nabc" + SMUG, id="SM-25 beyond every number"),
    pytest.param(b"Content-Length : 3\r\n\r\nabc" + SMUG, id="SM-28 a space before the colon"),
    pytest.param(b"Content-Length\x85: 3\r\n\r\nabc" + SMUG, id="SM-28 NEL before the colon"),
    pytest.param(b"Content_Length: 3\r\n\r\nabc" + SMUG, id="SM-28 an underscore"),
    pytest.param(b"X: y\r\n Content-Length: 43\r\nExpect: 100-continue\r\n\r\n" + SMUG, id="SM-31 hidden by folding"),
    pytest.param(b"Content-Length:\n 43\r\nExpect: 100-continue\r\n\r\n" + SMUG, id="SM-31 hidden by a bare LF"),
    pytest.param(b"X: a\n\n" + SMUG, id="SM-46 LF inside the headers"),
    pytest.param(b"X: y\rY: z\r\n\r\n" + SMUG, id="SM-47 a bare CR ends a line"),
    pytest.param(b"X: y\r\n\rZ: z\r\n\r\n" + SMUG, id="SM-47 CR in front of a line"),
    pytest.param(b"Host: app.example\r\n\r\n" + SMUG, id="SM-50 two Hosts"),
    pytest.param(b"host: app.example\r\n\r\n" + SMUG, id="SM-50 two Hosts in two spellings"),
    pytest.param(b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 3\r\n\r\nabc" + SMUG, id="SM-71 two media types"),
    pytest.param(b"User-Agent: a\r\nUser-Agent: b\r\n\r\n" + SMUG, id="SM-71 two agents"),
    pytest.param(b"Content-Range: a\r\nContent-Range: b\r\n\r\n" + SMUG, id="SM-71 two ranges"),
    *(
        pytest.param(b"X" + bytes([byte]) + b"Y: z\r\n\r\n" + SMUG, id=f"SM-49 byte {byte:#x} in a name")
        for byte in (*b'"(),/;<=>?@[\\]{} ', 0x7F, 0x00, 0x01, 0x0B, 0x1F, 0x80, 0xA0, 0xFF)
    ),
]
"""What may stand behind a request line and a Host: two servers could frame it in two ways, with SMUG where one of them would look."""

CHUNKS = [
    pytest.param(b"3;\nabc\r\n" + LAST, id="SM-34 LF ends an extension"),
    pytest.param(b"3;a\nb\r\nabc\r\n" + LAST, id="SM-34 LF in an extension"),
    pytest.param(b"3;a\rb\r\nabc\r\n" + LAST, id="SM-34 CR in an extension"),
    pytest.param(b"2\r\r;a\r\nab\r\n" + LAST, id="SM-34 CR before an extension"),
    pytest.param(b"3\nabc\r\n" + LAST, id="SM-35 LF ends a size"),
    pytest.param(b"3\r\nabc\n" + LAST, id="SM-35 LF ends data"),
    pytest.param(b"3\r\nabc\r\n0\n\r\n", id="SM-35 LF ends the last size"),
    pytest.param(b"3\r\nabc\r\n0\r\n\n", id="SM-35 LF ends the body"),
    pytest.param(b"3\r\nabcd\r\n" + LAST, id="SM-35 more data than its size"),
    *(
        pytest.param(size + b"\r\nabc\r\n" + LAST, id=f"SM-37 a size of {size!r}")
        for size in (b"0x3", b"+3", b"-3", b"0_3", b" 3", b"3 ", b"3\t", b"", b"3g", b"fffffffffffffffff")
    ),
]
"""Chunked bodies with a fault: some server reads over it."""

BODIES = [
    pytest.param(b"Transfer-Encoding:\tchunked\r\n\r\n" + SOMETHING, "abc", id="SM-14 a TAB"),
    pytest.param(b"tRANSFER-eNCODING: ChUnKeD\r\n\r\n" + SOMETHING, "abc", id="SM-20 another case"),
    pytest.param(b"Content-Length: 003\r\n\r\nabc", "abc", id="SM-26 leading noughts"),
    pytest.param(b"Content-Length: 3 \r\n\r\nabc", "abc", id="SM-26 a space behind"),
    pytest.param(CHUNKED + b"\r\n3;a=b\r\nabc\r\n" + LAST, "abc", id="SM-32 an extension"),
    pytest.param(CHUNKED + b'\r\n3;a="x;y"\r\nabc\r\n' + LAST, "abc", id="SM-32 a quoted extension"),
    pytest.param(CHUNKED + b"\r\nA\r\n0123456789\r\n" + LAST, "0123456789", id="SM-38 a letter"),
    pytest.param(CHUNKED + b"\r\n00003\r\nabc\r\n" + LAST, "abc", id="SM-38 leading noughts"),
    pytest.param(CHUNKED + b"\r\n3\r\nabc\r\n000\r\n\r\n", "abc", id="SM-38 the last with noughts"),
    pytest.param(CHUNKED + b"\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", "abc", id="SM-41 a trailer"),
    pytest.param(CHUNKED + b"\r\n" + b"1;" + b"e" * 100 + b"\r\nx\r\n" + LAST, "x", id="SM-40 a long extension"),
]
"""(the rest of a head and a body, the body that is meant): unusual, and clear."""

TRAILERS = [
    pytest.param(b"Host: evil", id="SM-43 Host"),
    pytest.param(b"Authorization: x", id="SM-43 Authorization"),
    pytest.param(b"Cookie: __Host-gateway=x", id="SM-43 Cookie"),
    pytest.param(b"X-Forwarded-User: admin", id="SM-43 X-Forwarded-User"),
    pytest.param(b"Content-Type: x/y", id="SM-43 Content-Type"),
    pytest.param(b"Content-Length: 7", id="SM-43 Content-Length"),
]
"""Header lines where nobody may believe them."""

LINES = [
    pytest.param(b"GET /p HTTP/1.1\nHost: app.example\n\n", {400}, id="SM-46 bare LF"),
    pytest.param(b"GET /p HTTP/1.1\r\n\r\n", {400}, id="SM-50 no Host"),
    pytest.param(b"GET http://evil/p HTTP/1.1\r\nHost: app.example\r\n\r\n", {400}, id="SM-52 absolute, another host"),
    pytest.param(b"GET http://app.example:81/p HTTP/1.1\r\nHost: app.example\r\n\r\n", {400}, id="SM-52 absolute, another port"),
    pytest.param(b"GET http://a@app.example/p HTTP/1.1\r\nHost: app.example\r\n\r\n", {400}, id="SM-52 absolute, with a user"),
    pytest.param(b"GET ftp://app.example/p HTTP/1.1\r\nHost: app.example\r\n\r\n", {400}, id="SM-52 absolute, another scheme"),
    pytest.param(b"GET http://app.example/public/../p HTTP/1.1\r\nHost: app.example\r\n\r\n", {400}, id="SM-52 absolute, dots"),
    pytest.param(b"GET /p\r\n\r\n", {400, 505}, id="SM-53 HTTP/0.9"),
    pytest.param(b"GET /p HTTP/0.9\r\nHost: app.example\r\n\r\n", {400, 505}, id="SM-53 HTTP/0.9, said"),
    pytest.param(b"GET /p HTTP/2.0\r\nHost: app.example\r\n\r\n", {400, 505}, id="SM-55 HTTP/2.0"),
    pytest.param(b"GET /p HTTP/1.2\r\nHost: app.example\r\n\r\n", {400, 505}, id="SM-55 HTTP/1.2"),
    pytest.param(b"GET /p HTTP/1.\r\nHost: app.example\r\n\r\n", {400, 505}, id="SM-55 no minor version"),
    pytest.param(b"GET /p HTTP/01.1\r\nHost: app.example\r\n\r\n", {400, 505}, id="SM-55 a nought in front"),
    pytest.param(b"GET /p http/1.1\r\nHost: app.example\r\n\r\n", {400, 505}, id="SM-55 small letters"),
    pytest.param(b"GET /p HTTP/1.1 \r\nHost: app.example\r\n\r\n", {400, 505}, id="SM-55 a space behind"),
    pytest.param(b"GET /p HTTP/1.\xb9\r\nHost: app.example\r\n\r\n", {400, 505}, id="SM-55 a superscript"),
    pytest.param(b"GET\t/p HTTP/1.1\r\nHost: app.example\r\n\r\n", {400}, id="SM-55 a TAB"),
    pytest.param(b"GET /p\x85 HTTP/1.1\r\nHost: app.example\r\n\r\n", {400}, id="SM-55 a byte beyond ASCII in the target"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}, id="SM-56 the preface of HTTP/2"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x07" * 32, {400}, id="SM-56 TLS on the plain port"),
    pytest.param(b"TRACE /p HTTP/1.1\r\nHost: app.example\r\n\r\n", {405}, id="SM-58 TRACE"),
    pytest.param(b"CONNECT app.example:443 HTTP/1.1\r\nHost: app.example:443\r\n\r\n", {400, 405}, id="SM-58 CONNECT"),
    pytest.param(b"FOO /p HTTP/1.1\r\nHost: app.example\r\n\r\n", {400, 501}, id="SM-59 an unknown method"),
    pytest.param(b"get /p HTTP/1.1\r\nHost: app.example\r\n\r\n", {400}, id="SM-59 small letters"),
    pytest.param(b"GE\0T /p HTTP/1.1\r\nHost: app.example\r\n\r\n", {400}, id="SM-59 NUL"),
    pytest.param(b"G" * 2**20 + b" /p HTTP/1.1\r\nHost: app.example\r\n\r\n", {400}, id="SM-59 a megabyte"),
]
"""(request line and head, the statuses of which one refuses it)."""

UPGRADES = [
    pytest.param(b"/p", False, UPGRADE, 401, id="SM-62 refused by the gateway"),
    pytest.param(b"/p", True, UPGRADE, 403, id="SM-62 from another origin"),
    pytest.param(b"/public/p", False, UPGRADE.replace(b"13", b"12"), 426, id="SM-62 in another version"),
    pytest.param(b"/p", False, b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", 401, id="SM-64 h2c"),
    pytest.param(
        b"/public/p",
        False,
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        200,
        id="SM-64 allowed",
    ),
    pytest.param(b"/p", True, b"Connection: Upgrade\r\nUpgrade: foo\r\n", 200, id="SM-65 another upgrade, allowed"),
    pytest.param(b"/p", False, b"Connection: Upgrade\r\nUpgrade: foo\r\n", 401, id="SM-65 another upgrade, refused"),
]
"""(path, whether with a session, the rest of the head, the answer): upgrades that are not made."""
