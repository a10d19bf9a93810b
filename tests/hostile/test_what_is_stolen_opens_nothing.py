"""RD-19, CK-25: a copy of the store opens nothing, nor does a cookie, nor do the server's keys. It takes all three.

The thief here tries all that he has as a key on all that he has: every 32 bytes that stand in a row anywhere in his loot, as they are and
as base64url has them, and their hashes; for every purpose, under every name that a value stands under. What this finds where nothing is
missing is looked at first, so that finding nothing means something.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING

import pytest

from gateway.oidc import base64url
from gateway.session.cookies import CookieNames
from gateway.session.sealing import KEY_BYTES, Keyring, Purpose, open_with
from tests.support.hostile_house import PUBLIC, SESSION, hostile_house
from tests.support.redis_servers import redis_server, server_binaries, server_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

BINDING = CookieNames.for_origin(PUBLIC).binding(SESSION)
_HASH = re.compile(rb"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
_TEXT = re.compile(rb"[A-Za-z0-9_-]{43,}")
Sealed = tuple[bytes, str | tuple[str, ...]]
"""Bytes, and a name that they may be bound to."""


@dataclass(frozen=True)
class Loot:
    """What a thief has; any of the three may be missing. ``dump`` is every key of the store with all that stands under it."""

    dump: dict[bytes, tuple[bytes, ...]]
    cookies: tuple[str, ...]
    server_keys: tuple[bytes, ...]

    def opened(self) -> dict[Purpose, set[bytes]]:
        """All that opens with any of it. What opens may hold the key of something else, so it is tried until nothing new comes."""
        stored = [part for key, values in self.dump.items() for part in (key, *values)]
        sealed = {(value, name) for key, values in self.dump.items() for value in values for name in _names(key)}
        sealed |= {(cookie.encode(), BINDING) for cookie in self.cookies}
        keys, tried = {*self.server_keys, *_keys_in([*stored, *(cookie.encode() for cookie in self.cookies)])}, set[bytes]()
        found: dict[Purpose, set[bytes]] = {}
        while keys:
            new = list(_opened(keys, sealed))
            tried |= keys
            for purpose, plaintext in new:
                found.setdefault(purpose, set()).add(plaintext)
            keys = set(_keys_in(plaintext for _, plaintext in new)) - tried
        return found


def _names(key: bytes) -> set[str]:
    return {key.decode(), *(name.decode() for name in _HASH.findall(key))}


def _keys_in(material: Iterable[bytes]) -> Iterator[bytes]:
    for blob in material:
        decoded = [base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)) for text in _TEXT.findall(blob) if len(text) % 4 != 1]
        for readable in (blob, *decoded):
            yield hashlib.sha256(readable).digest()
            for at in range(len(readable) - KEY_BYTES + 1):
                yield readable[at : at + KEY_BYTES]


def _opened(keys: set[bytes], sealed: set[Sealed]) -> Iterator[tuple[Purpose, bytes]]:
    by_server_keys: dict[bytes, list[Sealed]] = {}
    by_data_keys: list[Sealed] = []
    for blob, name in sealed:
        named = _key_id(blob)
        if named is None:
            by_data_keys.append((blob, name))
        else:
            by_server_keys.setdefault(named, []).append((blob, name))
    for key in keys:
        ring = Keyring([key])
        # A keyring opens nothing of another key's, and says so by the id alone.
        for (blob, name), purpose in product(by_server_keys.get(bytes.fromhex(ring.ids[0]), ()), Purpose):
            plaintext = ring.open(purpose, blob, bound_to=name)
            if plaintext is not None:
                yield purpose, plaintext
        for (blob, name), purpose in product(by_data_keys, (Purpose.IDENTITY, Purpose.TOKENS)):
            plaintext = open_with(key, purpose, blob, bound_to=name)
            if plaintext is not None:
                yield purpose, plaintext


def _key_id(blob: bytes) -> bytes | None:
    """The server key that a text says it is sealed under; None for bytes, which data keys seal."""
    try:
        return base64url.decode(blob.decode("ascii"))[1:5]
    except ValueError:
        return None


@pytest.mark.parametrize("binary", [pytest.param(binary, id=server_id(binary)) for binary in server_binaries()])
async def test_it_takes_the_store_and_the_cookie_and_the_keys(tmp_path: Path, binary: Path) -> None:
    """RD-19, CK-25: nothing opens with any two of them but what operators see."""
    async with (
        redis_server(binary) as store,
        hostile_house(tmp_path, store=store) as house,
        house.browser() as browser,
        house.browser() as in_flight,
    ):
        cookie = await house.signed_in(browser)
        await house.to_callback(in_flight)
        login_cookies = tuple(in_flight.jar.values())
        assert len(login_cookies) == 1
        key = base64url.decode((house.gateway.config.parent / "session_key").read_text().strip())
        loot = {"dump": await house.dump(), "cookies": (cookie, *login_cookies), "server_keys": (key,)}
        nothing = {"dump": {}, "cookies": (), "server_keys": ()}
        secrets = [tokens[name].encode() for tokens in house.provider.tokens_issued for name in ("access_token", "id_token")]

    everything = Loot(**loot).opened()
    assert {Purpose.SESSION_COOKIE, Purpose.IDENTITY, Purpose.TOKENS} <= set(everything)
    assert any(b"alice-sub" in plaintext for plaintext in everything[Purpose.IDENTITY])
    assert any(secret in plaintext for secret in secrets for plaintext in everything[Purpose.TOKENS])

    for had in (parts for number in (0, 1, 2) for parts in combinations(loot, number)):
        opened = Loot(**nothing | {part: loot[part] for part in had}).opened()
        match had:
            case ("dump", "server_keys"):
                # Who is signed in, which operators may see; nothing that signs anybody in.
                assert set(opened) <= {Purpose.CARD}
                cards = [json.loads(card) for card in opened.get(Purpose.CARD, ())]
                assert all(card["sub"] == "alice-sub" for card in cards)
                assert not any(secret in card for secret in secrets for card in opened.get(Purpose.CARD, ()))
            case ("cookies", "server_keys"):
                # An id and a key of nothing that is there; of a login in flight its secret, which its own browser has.
                assert set(opened) <= {Purpose.SESSION_COOKIE, Purpose.LOGIN_COOKIE}
                assert not any(b"alice" in plaintext for plaintexts in opened.values() for plaintext in plaintexts)
            case _:
                assert opened == {}, had
    told = b"\n".join(part for name, values in loot["dump"].items() for part in (name, *values))
    for plain in (b"alice", b"example.org", house.provider.issuer.encode(), *secrets):
        assert plain not in told
