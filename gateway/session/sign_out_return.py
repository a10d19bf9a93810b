"""The way back from a sign-out: a checked target, sealed into the ``state`` that travels to the provider and comes home.

Answers RP-Initiated Logout 1.0 section 3 and the threat of an open redirect: only what this gateway sealed, for this origin and within the
hour, leads anywhere. Pure: the time is an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.session.login import CLOCK_SKEW
from gateway.session.sealing import MAX_SEALED, Purpose
from gateway.session.stored_json import read_stored, write_stored

if TYPE_CHECKING:
    from gateway.session.sealing import Keyring

RETURN_SECONDS: Final = 3600.0


def seal_return(keyring: Keyring, target: str, *, origin: str, now: float) -> str:
    """The ``state`` for a return target that was judged already (``access.return_to``); ``now`` is epoch seconds.

    A target so long that its state would not open again becomes "/". ``ValueError`` for lone surrogates, which no judged target holds.
    """
    for each in (target, "/"):
        state = keyring.seal(Purpose.LOGOUT_STATE, write_stored([int(now), each]), bound_to=origin)
        if len(state) <= MAX_SEALED:
            return state
    raise AssertionError("a state for the root is short")


def open_return(keyring: Keyring, state: str, *, origin: str, now: float) -> str | None:
    """The target that ``seal_return`` sealed for this origin within the last hour; None for whatever else came as ``state``.

    Judge it once more before going there: the operator may have taken an origin off the list since.
    """
    plaintext = keyring.open(Purpose.LOGOUT_STATE, state, bound_to=origin)
    match None if plaintext is None else read_stored(plaintext):
        case [int(sealed_at), str(target)] if sealed_at - CLOCK_SKEW <= now < sealed_at + RETURN_SECONDS:
            return target
    return None
