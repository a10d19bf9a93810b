"""Reads chunked bodies of upstreams with llhttp, kept strict, and drops their extensions and trailers.

Answers UP-05, UP-22 and RFC 9112 section 7.1. The parser never sees the upstream's head: it is told ``chunked`` by us, so that two
readers cannot disagree on what the head said.
"""

from __future__ import annotations

import httptools

from gateway.errors import UpstreamFailed

_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class ChunkedReader:
    """One chunked body. ``complete`` once the last chunk and its trailers were read; ``surplus`` when anything came after."""

    __slots__ = ("_parser", "_pieces", "complete", "surplus")

    def __init__(self) -> None:
        self.complete = False
        self.surplus = False
        self._pieces: list[bytes] = []
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._parser.feed_data(_HEAD)

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body that ``data`` holds. Raises UpstreamFailed when it is not chunked coding by the letter."""
        if self._parser is None:
            self.surplus = True
            return b""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.complete:
                self._parser = None
                raise UpstreamFailed("the answer's chunks are malformed") from None
            self.surplus = True
        if self.complete:
            self._parser = None  # it holds us, we hold it: let both go now
        pieces = self._pieces
        if not pieces:
            return b""
        self._pieces = []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    # what httptools calls

    def on_message_begin(self) -> None:
        """A second message in the same bytes was never asked for."""
        if self.complete:
            self.surplus = True

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body, unless it is of a message that was never asked for."""
        if not self.complete:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The last chunk and its trailers were read."""
        self.complete = True
