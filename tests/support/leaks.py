"""The leak sweep: what must stay secret, and everything that the gateway said, held against each other over the whole test run.

Clients and providers of the tests register the codes, tokens, verifiers, secrets and cookie values that they saw; processes and clients
register what the gateway printed and the pages it showed. ``tests/conftest.py`` compares them when the run ends: a worker of a parallel run
tells the process that started it all that it saw, so that each secret is held against the outputs of every worker.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

SHORTEST = 12
"""A shorter value would be found by chance; no secret of a real handshake is that short."""


@dataclass
class Sweep:
    """What was seen in this run."""

    secrets: dict[str, str] = field(default_factory=dict)
    outputs: list[tuple[str, str]] = field(default_factory=list)
    gateways: int = 0
    untold: list[str] = field(default_factory=list)
    """Workers that ended without telling what they saw: whatever that was, nobody looked at it."""

    def secret(self, value: str | None, kind: str) -> None:
        if value is not None and len(value) >= SHORTEST:
            self.secrets[value] = kind

    def output(self, text: str, where: str) -> None:
        if text:
            self.outputs.append((where, text))

    def told(self) -> str:
        """All that was seen here, for ``hear``."""
        return json.dumps(asdict(self))

    def hear(self, told: str | None, worker: str) -> None:
        """Add what a worker saw."""
        if told is None:
            self.untold.append(worker)
            return
        seen = Sweep(**json.loads(told))
        self.secrets |= seen.secrets
        self.outputs += seen.outputs
        self.gateways += seen.gateways

    def leaks(self) -> list[str]:
        """One line a leak: which kind of secret stands where; the value itself is not repeated."""
        short, by_block = self._sorted()
        found = {f"whatever worker {worker} saw: it ended without telling" for worker in self.untold}
        for where, text in self.outputs:
            suspects = set(short)
            for start in range(0, len(text), SHORTEST):
                suspects |= by_block.get(text[start : start + SHORTEST], set())
            found |= {f"{self.secrets[value]} in {where}" for value in suspects if value in text}
        return sorted(found)

    def _sorted(self) -> tuple[list[str], dict[str, set[str]]]:
        """The short secrets, and the others by every block of ``SHORTEST`` characters with which a text could show them.

        Wherever a long one stands in a text that is cut into such blocks, it fills a whole one, which begins within its first ``SHORTEST``
        characters. Thousands of secrets against thousands of outputs, each against each, would take minutes.
        """
        short: list[str] = []
        by_block: dict[str, set[str]] = {}
        for value in self.secrets:
            if len(value) < 2 * SHORTEST - 1:
                short.append(value)
                continue
            for start in range(SHORTEST):
                by_block.setdefault(value[start : start + SHORTEST], set()).add(value)
        return short, by_block


sweep = Sweep()
