"""What a token endpoint answered, read once and strictly.

Answers RFC 6749 section 5 and OpenID Connect Core section 3.1.3.3: tokens are taken from a 200 alone, and an answer that mixes success
and error is no success.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one grant; ``repr`` shows none of them.

    ``expires_at`` is epoch seconds, None when the provider did not say. ``scope`` is what was granted, None when as asked.
    """

    access_token: str = field(repr=False)
    token_type: str
    expires_at: float | None
    refresh_token: str | None = field(repr=False)
    id_token: str = field(repr=False)
    scope: str | None
