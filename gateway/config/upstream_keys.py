"""The keys of a route that say how its app is reached: time limits, connections, TLS, checks.

Answers invariants 2 and 14: a path that an operator writes is canonical like a path that a caller sends, and everything has a bound.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator

from gateway.access.target import canonical_target
from gateway.config import addresses, values
from gateway.config.forms import DURATION_FORM, Section, Text, default, reader, written
from gateway.errors import TargetRefused


def _total(value: object) -> float | None:
    return None if value == "none" else values.duration("1s", "24h")(value)


def _path(text: str) -> str:
    try:
        return canonical_target(text).raw
    except TargetRefused:
        raise ValueError("not a path; write it as it is to be sent, such as /healthz") from None


def host_rule(value: object) -> bool | str:
    """True, false, or the Host to send. ValueError with the remedy."""
    if isinstance(value, bool):
        return value
    word = values.text(value)
    if word in {"yes", "no", "on", "off"}:
        raise ValueError("has to be true, false or a host")
    return addresses.read_authority(word)


class RouteTimeouts(Section):
    """How long the app may take. All but `total` are limits on silence: a long download goes on."""

    connect: Annotated[float, PlainValidator(values.duration("1s", "60s")), DURATION_FORM] = default("5s")
    """Until a connection stands, TLS included; also how long a request waits for a free one."""
    response_header: Annotated[float, PlainValidator(values.duration("1s", "1h")), DURATION_FORM] = default("60s")
    """From the end of the request to the end of the answer's headers."""
    idle: Annotated[float, PlainValidator(values.duration("1s", "24h")), DURATION_FORM] = default("5m")
    """Between two pieces of a body, in either direction."""
    total: Annotated[float | None, PlainValidator(_total), written(kind=["string", "integer"])] = default("none")
    """For a whole exchange, or `none`."""
    tunnel_idle: Annotated[float, PlainValidator(values.duration("1s", "30d")), DURATION_FORM] = default("1h")
    """For which a WebSocket or another tunnel may carry nothing, in either direction."""


class RoutePool(Section):
    """The connections to each address of the app, shared by the routes that lead there with equal settings."""

    connections: int = Field(default=512, ge=1, le=65536)
    """Requests in flight at once. WebSockets are not counted."""
    waiting: int = Field(default=1024, ge=0, le=65536)
    """Requests that may wait for a connection; more are answered 503."""
    idle: Annotated[float, PlainValidator(values.duration("1s", "1h")), DURATION_FORM] = default("4s")
    """How long a connection waits for its next request: less than the app's own keep-alive, which is 5s for many servers."""
    max_age: Annotated[float, PlainValidator(values.duration("1s", "24h")), DURATION_FORM] = default("5m")
    """After this a connection takes no further request, so that a changed DNS entry is followed."""


class RouteTls(Section):
    """How an https app is verified, and how the gateway proves itself to it."""

    ca_file: Text | None = None
    """A PEM file with the authorities to trust instead of the system's."""
    server_name: Annotated[str, reader(addresses.read_authority), written()] | None = None
    """The name to ask for and to verify, when it is not the host of the URL."""
    certificate: Text | None = None
    """A PEM file with the client certificate."""
    key: Text | None = None
    """A PEM file with its key."""


class RouteHealth(Section):
    """An active check of each address: 2xx and 3xx are healthy."""

    path: Annotated[str, reader(_path), written("^/")]
    """What to GET."""
    interval: Annotated[float, PlainValidator(values.duration("1s", "1h")), DURATION_FORM] = default("10s")
    """How often."""
    timeout: Annotated[float, PlainValidator(values.duration("1s", "60s")), DURATION_FORM] = default("2s")
    """How long an answer may take."""
