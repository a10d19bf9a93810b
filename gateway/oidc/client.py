"""The back channel: the one place in this room that sends, and that lets nothing in but bounded, well-formed JSON.

Answers RFC 6749 section 10.9 (the provider's certificate), RFC 9700 section 2.6 and invariants 13 and 14. No redirect is followed (it would
carry credentials elsewhere), no cookie kept (a shared jar mixes people), no proxy taken from the environment, no answer decompressed (a
small body unfolds into gigabytes), no connection used twice (what arrives late on one is not the answer to the next request), and no
request is ever repeated (a code is good once).
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from gateway.errors import ProviderFailed, ProviderTimeout, ProviderUnavailable
from gateway.oidc.strict_json import JSONError, parse_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.identity import JSONValue
    from gateway.oidc.registration import ProviderSettings
    from gateway.oidc.token_request import FormRequest

MAX_ANSWER: Final = 256 * 1024
"""Bytes of any answer: the largest JWK sets and tokens are a fraction of it, and reading it holds up nobody else."""

MAX_CONCURRENT: Final = 32
MAX_WAITING: Final = 512
_OK: Final = 200
_REDIRECTS: Final = range(300, 400)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered to a form; ``document`` is None when the body was no acceptable JSON object."""

    status: int
    document: Mapping[str, JSONValue] | None = field(repr=False)
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """What an endpoint answered when its body does not matter; ``retry_after`` is the field as it came, None when there was none."""

    status: int
    retry_after: str | None


class BackChannel:
    """Exchanges with one provider, each on a connection of its own, so many at a time and no more."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._provider = settings.id
        self._connect_timeout = settings.connect_timeout
        self._total_timeout = settings.total_timeout
        self._ca_file = settings.ca_file
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._closed = False
        self._places = asyncio.Semaphore(MAX_CONCURRENT)
        self._waiting = 0

    async def get_json(self, url: str, name: str, *, media_types: frozenset[str] = frozenset({"application/json"})) -> dict[str, JSONValue]:
        """The JSON object at a URL; ``name`` says in the details of errors which document it is.

        Raises:
            ProviderTimeout: no connection or no whole answer in time.
            ProviderUnavailable: no connection, no free place, or a 5xx or 429.
            ProviderFailed: any other answer than a 200 with one JSON object of an accepted media type.
        """
        async with self._exchange("GET", url, name) as response:
            if response.status != _OK:
                unavailable = response.status >= 500 or response.status == 429  # noqa: PLR2004 - the statuses that mean "later"
                raise (ProviderUnavailable if unavailable else ProviderFailed)(self._say(name, f"answered {response.status}"))
            return await self._read_object(response, name, media_types)

    async def post_form(self, request: FormRequest, name: str, *, total_timeout: float | None = None) -> Answer:
        """Send a form once and read the answer, whatever its status but a redirect; ``total_timeout`` is other seconds than the settings'.

        Raises:
            ProviderTimeout, ProviderUnavailable: as for ``get_json``, but that a status is left to the caller.
            ProviderFailed: a redirect, a broken answer, or a 200 whose body is no acceptable JSON object.
        """
        async with self._exchange("POST", request.url, name, request, total_timeout) as response:
            await self._one_a_turn()
            try:
                document = await self._read_object(response, name, frozenset({"application/json"}))
            except ProviderFailed:
                if response.status == _OK:
                    raise
                document = None
            return Answer(status=response.status, document=document, retry_after=response.headers.get("Retry-After"))

    async def post_unread(self, request: FormRequest, name: str) -> Unread:
        """Send a form once for its status alone, as a revocation wants it (RFC 7009 section 2.2); raises as ``post_form`` does."""
        async with self._exchange("POST", request.url, name, request) as response:
            return Unread(status=response.status, retry_after=response.headers.get("Retry-After"))

    async def _one_a_turn(self) -> None:
        """Go on alone in this turn of the loop: answers that come together would hold up all else until all are read and verified."""
        async with self._reading:
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Close what is open; exchanges under way end in ``ProviderFailed``, later ones in ``ProviderUnavailable``."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _exchange(
        self, method: str, url: str, name: str, request: FormRequest | None = None, total_timeout: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {} if request is None else dict(request.headers) | {"Content-Type": "application/x-www-form-urlencoded"}
        body = None if request is None else urlencode(request.form).encode("ascii")
        try:
            async with asyncio.timeout(self._total_timeout if total_timeout is None else total_timeout), self._place():
                session = await self._open()
                async with session.request(method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False) as response:
                    try:
                        if response.status in _REDIRECTS:
                            raise ProviderFailed(self._say(name, f"answered {response.status}, and redirects are not followed"))
                        yield response
                    finally:
                        # Whatever was left unread, this connection has had its exchange.
                        response.close()
        except TimeoutError:
            raise ProviderTimeout(self._say(name, "gave no whole answer in time")) from None
        except aiohttp.ClientConnectorCertificateError:
            raise ProviderFailed(self._say(name, "has a certificate that is not trusted; see ca_file")) from None
        except aiohttp.ClientSSLError as error:
            raise ProviderFailed(self._say(name, f"broke off the TLS handshake ({type(error).__name__})")) from None
        except aiohttp.ClientConnectorError as error:
            raise ProviderUnavailable(self._say(name, f"cannot be reached ({error.os_error.strerror or type(error).__name__})")) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The library's own texts may quote headers of the request: only the kind is told.
            raise ProviderFailed(self._say(name, f"broke off or did not speak HTTP ({type(error).__name__})")) from None

    async def _read_object(self, response: aiohttp.ClientResponse, name: str, media_types: frozenset[str]) -> dict[str, JSONValue]:
        encodings = response.headers.getall("Content-Encoding", [])
        if any(encoding.strip().lower() not in ("", "identity") for encoding in encodings):
            raise ProviderFailed(self._say(name, "answered in a content coding that was not asked for"))
        if not _is_accepted(response.headers.getall("Content-Type", []), media_types):
            raise ProviderFailed(self._say(name, "answered in another media type than JSON in UTF-8"))
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_ANSWER:
                raise ProviderFailed(self._say(name, f"answered more than {MAX_ANSWER} bytes"))
        try:
            return parse_object(bytes(body))
        except JSONError as error:
            raise ProviderFailed(self._say(name, f"answered no acceptable JSON: {error}")) from None

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the places on the back channel, waited for no longer than for a connection."""
        if self._waiting >= MAX_WAITING:
            raise ProviderUnavailable(f"provider {self._provider}: {MAX_WAITING} exchanges are waiting already")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._places.acquire()
        except TimeoutError:
            raise ProviderUnavailable(f"provider {self._provider}: no place on the back channel in time") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()

    async def _open(self) -> aiohttp.ClientSession:
        """The session, made in the running loop at the first exchange.

        The authorities that are trusted are read beside the loop: they take tens of milliseconds, in which nobody else would be answered.
        """
        async with self._opening:
            tls = await asyncio.to_thread(self._tls) if self._session is None and not self._closed else None
            if self._closed:
                raise ProviderUnavailable(f"provider {self._provider}: the back channel is closed")
            if tls is not None:
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=tls, force_close=True, limit=0),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout, sock_connect=self._connect_timeout),
                    headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "authcode-gateway"},
                    trust_env=False,
                    auto_decompress=False,
                )
        assert self._session is not None
        return self._session

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:
            raise ProviderFailed(f"provider {self._provider}: ca_file cannot be read ({type(error).__name__})") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # RFC 9525 section 6.3: the common name is no identity.
        context.hostname_checks_common_name = False
        return context

    def _say(self, name: str, what: str) -> str:
        return f"provider {self._provider}: the {name} {what}"


def _is_accepted(content_types: list[str], media_types: frozenset[str]) -> bool:
    """Whether there is one Content-Type, of an accepted media type, with no other charset than UTF-8 (RFC 8259 section 8.1)."""
    if len(content_types) != 1:
        return False
    media_type, *parameters = (part.strip().lower() for part in content_types[0].split(";"))
    charsets = [parameter.removeprefix("charset=").strip('"') for parameter in parameters if parameter.startswith("charset=")]
    return media_type in media_types and charsets in ([], ["utf-8"])
