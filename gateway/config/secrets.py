"""Secrets come from the environment or from a file, never from the YAML itself, and are never printed.

Answers invariant 11 and the file that is copied, committed and shown in a ticket: a value written inline is refused without being repeated,
and so are the names it points at, because a secret may have been written where a name belongs.
"""

from __future__ import annotations

import os
import re
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from gateway.oidc.registration import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.config.faults import Findings, KeyPath

MAX_SECRET_BYTES: Final = 64 * 1024
KEY_BYTES: Final = 32
KEY_REMEDY: Final = "make one with: gateway keys new"
LEAST_DISTINCT: Final = 16
"""32 random bytes hold 30 different values on average; fewer than 16 happens to nobody who used a random source."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=?")


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """``{env: NAME}``."""

    name: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FromFile:
    """``{file: path}``; a relative path is taken from the folder of the configuration file."""

    path: str = field(repr=False)


SecretSource: TypeAlias = FromEnvironment | FromFile | Secret | bytes
"""Where a secret comes from. ``Secret`` and ``bytes`` come from Python alone (the demo, tests); YAML has no way to write them."""


def secret_source(value: object) -> SecretSource:
    """Read ``{env: NAME}`` or ``{file: path}``.

    Raises:
        ValueError: with what is wrong and what to write, and nothing of what was written.
    """
    remedy = "write {env: NAME} or {file: path}"
    if isinstance(value, (Secret, bytes, FromEnvironment, FromFile)):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"a secret is never written here; {remedy}, and change the secret if this file was shared")  # noqa: TRY004
    if len(value) != 1 or next(iter(value)) not in {"env", "file"}:
        raise ValueError(f"has to be exactly one of env and file; {remedy}")
    kind, name = next(iter(value.items()))
    if kind == "env":
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise ValueError("not the name of an environment variable; write {env: NAME} with letters, digits and _")
        return FromEnvironment(name)
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ValueError("not the path of a file; write {file: /run/secrets/name}")
    return FromFile(name)


@dataclass(frozen=True, slots=True)
class SecretReader:
    """Follows references. ``base`` is the folder that relative paths start from."""

    environ: Mapping[str, str]
    base: Path
    findings: Findings

    def read(self, source: SecretSource, path: KeyPath) -> str | None:
        """The secret at ``path`` of the configuration, or None after a fault was noted."""
        try:
            return self._read(source, path)
        except ValueError as error:
            self.findings.fault(path, str(error))
            return None

    def read_key(self, source: SecretSource, path: KeyPath) -> bytes | None:
        """A session key, 32 bytes that a random source made, or None after a fault was noted."""
        written = source if isinstance(source, bytes) else self.read(source, path)
        if written is None:
            return None
        try:
            return session_key(written)
        except ValueError as error:
            self.findings.fault(path, str(error))
            return None

    def _read(self, source: SecretSource, path: KeyPath) -> str:
        match source:
            case Secret():
                value = source.reveal()
            case bytes():
                raise ValueError("bytes are a session key; give a Secret")
            case FromEnvironment():
                if source.name not in self.environ:
                    raise ValueError("the environment variable named here is not set; set it where the gateway is started")
                value = self.environ[source.name]
            case FromFile():
                value = self._content(source, path)
            case _:
                assert_never(source)
        if not value.strip():
            raise ValueError("the secret is empty; put its value where this points")
        if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 or _is_surrogate(character) for character in value):  # noqa: PLR2004
            raise ValueError("the secret holds control characters or several lines; it has to be one line of text")
        return value

    def _content(self, source: FromFile, path: KeyPath) -> str:
        """The file's text without the line end that editors and ``echo`` add."""
        try:
            with open(self.base / source.path, "rb", opener=_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise ValueError("not a regular file; name a file that holds the secret alone")
                data = file.read(MAX_SECRET_BYTES + 1)
        except FileNotFoundError:
            raise ValueError("no such file; a relative path starts from the folder of the configuration file") from None
        except OSError as error:
            raise ValueError(f"the file cannot be read ({error.strerror}); name one that the gateway's user may read") from None
        if status.st_mode & stat.S_IROTH:
            self.findings.warn(path, "every user of this machine may read the file; take that right away (chmod o-r)")
        if len(data) > MAX_SECRET_BYTES:
            raise ValueError("larger than 64 KiB; name a file that holds the secret alone")
        try:
            value = data.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("the file is not text; it has to hold one line in UTF-8") from None
        return value.removesuffix("\n").removesuffix("\r")


def _without_waiting(path: str, flags: int) -> int:
    """Opening a pipe that nobody writes to must not hold up the start."""
    return os.open(path, flags | os.O_NONBLOCK)


def session_key(written: str | bytes) -> bytes:
    """32 bytes from their base64url form (padding optional), or those bytes themselves.

    Raises:
        ValueError: when it is no such key, or one that nobody drew at random; nothing of the key is in the text.
    """
    if isinstance(written, bytes):
        key = written
        if len(key) != KEY_BYTES:
            raise ValueError(f"a session key is 32 bytes; {KEY_REMEDY}")
    else:
        key = _decoded(written)
    if _guessable(key):
        raise ValueError(f"not a random key, so it can be guessed; {KEY_REMEDY}")
    return key


def _decoded(written: str) -> bytes:
    if not _KEY.fullmatch(written):
        raise ValueError(f"a session key is 32 bytes in base64url (43 characters); {KEY_REMEDY}")
    bare = written.removesuffix("=")
    key = urlsafe_b64decode(bare + "=")
    # The last character carries two bits that belong to nothing: with those set, two texts would be one key.
    if urlsafe_b64encode(key).decode().removesuffix("=") != bare:
        raise ValueError(f"not canonical base64url; {KEY_REMEDY}")
    return key


def _guessable(key: bytes) -> bool:
    """Few values, steps of one size, text, or one half twice: chance makes each of these less than once in 10^13 keys."""
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    half = len(key) // 2
    return len(set(key)) < LEAST_DISTINCT or len(steps) == 1 or key[:half] == key[half:] or all(0x20 <= byte < 0x7F for byte in key)  # noqa: PLR2004


def _is_surrogate(character: str) -> bool:
    """Environment variables that are not UTF-8 arrive as these."""
    return "\ud800" <= character <= "\udfff"
