"""The keys that say how Redis is used, whichever server `session.store` names.

Answers RD-14 and invariant 14: connections and waits are bounded, and a prefix cannot make one session's keys part, or reach another's.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import Field, PlainValidator

from gateway.config import values
from gateway.config.forms import DURATION_FORM, Section, Text, default, reader, written

_PREFIX: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)


def _prefix(text: str) -> str:
    if _PREFIX.fullmatch(text):
        return text
    raise ValueError("not a prefix of keys; write up to 64 letters, digits and . _ : - such as gateway:")


class StoreRedis(Section):
    """How Redis or Valkey is used. Who the gateway is there stands in the URL of `session.store`."""

    prefix: Annotated[str, reader(_prefix), written("^[A-Za-z0-9._:-]{1,64}$")] = default("gateway:")
    """What the name of every key begins with."""
    pool: int = Field(default=32, ge=1, le=1024)
    """How many connections each worker may have to each server for commands."""
    connect_timeout: Annotated[float, PlainValidator(values.duration("1s", "10s")), DURATION_FORM] = default("2s")
    """How long a connection may take to stand, TLS included."""
    timeout: Annotated[float, PlainValidator(values.duration("1s", "10s")), DURATION_FORM] = default("1s")
    """How long an answer may take."""
    ca_file: Text | None = None
    """A PEM file with the authorities to trust for TLS instead of the system's."""
    certificate: Text | None = None
    """A PEM file with the gateway's certificate and its chain, for servers that ask for one; with `key`."""
    key: Text | None = None
    """A PEM file with its key."""
