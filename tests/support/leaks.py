"""The leak sweep: what must stay secret, and everything that the gateway said, held against each other over the whole test run.

Clients and providers of the tests register the codes, tokens, verifiers, secrets and cookie values that they saw; processes and clients
register what the gateway printed and the pages it showed. ``tests/conftest.py`` compares them when the run ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SHORTEST = 12
"""A shorter value would be found by chance; no secret of a real handshake is that short."""


@dataclass
class Sweep:
    """What was seen in this run."""

    secrets: dict[str, str] = field(default_factory=dict)
    outputs: list[tuple[str, str]] = field(default_factory=list)
    gateways: int = 0

    def secret(self, value: str | None, kind: str) -> None:
        if value is not None and len(value) >= SHORTEST:
            self.secrets[value] = kind

    def output(self, text: str, where: str) -> None:
        if text:
            self.outputs.append((where, text))

    def leaks(self) -> list[str]:
        """One line a leak: which kind of secret stands where; the value itself is not repeated."""
        return sorted({f"{kind} in {where}" for where, text in self.outputs for value, kind in self.secrets.items() if value in text})


sweep = Sweep()
