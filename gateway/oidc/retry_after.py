"""How long a provider wants to be left alone: the seconds of a Retry-After, never more than we are willing to wait.

Answers RFC 9110 section 10.2.3. The other form, a date, would need a clock that agrees with the provider's; it counts as nothing said.
"""

from __future__ import annotations

import re
from typing import Final

_SECONDS: Final = re.compile(r"[0-9]{1,9}\Z")


def asked_wait(retry_after: str | None, *, longest: float) -> float:
    """The seconds that were asked for, ``longest`` at most; 0 for none, and for a date."""
    if retry_after is None or not _SECONDS.match(retry_after.strip()):
        return 0.0
    return min(float(retry_after), longest)
