"""``gateway keys new``: a session key that a random source made, on standard output or in a file that nobody else may read.

Answers the key that is thought up, lands in a shell's history, or is written over by the next one: what stands in a file stays there, since
a lost key signs out everybody who has a session under it.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

from gateway.cli.standard_streams import complain, hand_over, prepare, say
from gateway.oidc import base64url
from gateway.session.sealing import KEY_BYTES, Keyring

if TYPE_CHECKING:
    from pathlib import Path

NEXT: Final = """\
Next: list it in session.keys, behind the keys in use, and reload every replica (SIGHUP); then put it first, and reload again.
One machine's gateway, whatever its workers, takes it first at once. Leave the old key listed for session.lifetime: nobody is signed out."""


def run(file: Path | None) -> int:
    """Make a key; the exit code: 0, or 2 when it cannot be written, or ``file`` is there already (one line on stderr)."""
    prepare()
    key = secrets.token_bytes(KEY_BYTES)
    text = base64url.encode(key)
    named = f"The log calls this key {Keyring([key]).ids[0]}."
    if file is None:
        # The key alone, so that it can go into another command; the rest is for the person.
        if not hand_over(text):
            complain("Standard output cannot be written, so there is no key.")
            return 2
        complain(f"{named}\n{NEXT}")
        return 0
    try:
        _write_new(file, text + "\n")
    except FileExistsError:
        folder = f"{file} is a folder: name a file in it."
        complain(folder if file.is_dir() else f"{file} is there already, and a lost key signs everybody out: name another file.")
        return 2
    except OSError as refusal:
        complain(f"{file} cannot be written: {refusal.strerror or refusal}.")
        return 2
    say(f"{file} holds a new session key, for its owner's eyes alone: the gateway has to run as that user.\n{named}\n{NEXT}")
    return 0


def _write_new(file: Path, text: str) -> None:
    """Write a file that was not there, for its owner alone, wholly or not at all. A symbolic link counts as there."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            # A umask may have taken the owner's own rights.
            os.fchmod(descriptor, 0o600)
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
    except OSError:
        file.unlink()
        raise
