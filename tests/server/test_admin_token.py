"""Who is let in to the session API: whoever sends its token in one Authorization line, as long as there is one."""

from __future__ import annotations

import pytest

from gateway.oidc.registration import Secret
from gateway.server.admin_token import AdminToken

TOKEN = "0123456789abcdef/+=~"


def sent(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"Host", b"x"), *((b"aUthorization", value.encode()) for value in values)]


@pytest.mark.parametrize(
    ("headers", "admitted"),
    [
        pytest.param(sent(f"Bearer {TOKEN}"), True, id="the token"),
        pytest.param(sent(f"bearer  {TOKEN}"), True, id="the scheme in another case"),
        pytest.param(sent(), False, id="nothing"),
        pytest.param(sent(TOKEN), False, id="no scheme"),
        pytest.param(sent(f"Basic {TOKEN}"), False, id="another scheme"),
        pytest.param(sent("Bearer "), False, id="an empty token"),
        pytest.param(sent("Bearer " + TOKEN[:-1]), False, id="a shorter one"),
        pytest.param(sent(f"Bearer {TOKEN}x"), False, id="a longer one"),
        pytest.param(sent(f"Bearer {TOKEN} "), False, id="a blank behind"),
        pytest.param(sent(f"Bearer {TOKEN.upper()}"), False, id="another case"),
        pytest.param(sent(f"Bearer {TOKEN}", f"Bearer {TOKEN}"), False, id="two lines"),
        pytest.param(sent(f"Bearer {TOKEN}, Bearer {TOKEN}"), False, id="two in a line"),
        pytest.param(sent("Bearer " + "x" * 5000), False, id="endless"),
        pytest.param([(b"X-Authorization", f"Bearer {TOKEN}".encode())], False, id="another header"),
    ],
)
def test_who_is_admitted(headers, admitted):
    assert AdminToken(Secret(TOKEN)).admits(headers) is admitted


def test_without_a_token_nobody_is_admitted():
    token = AdminToken(None)
    assert not token.is_set
    assert not token.admits(sent("Bearer None"))
    assert not token.admits(sent("Bearer "))


def test_a_reload_brings_another_or_none():
    token = AdminToken(Secret(TOKEN))
    token.replace(Secret("another-token-0123"))
    assert token.admits(sent("Bearer another-token-0123"))
    assert not token.admits(sent(f"Bearer {TOKEN}"))
    token.replace(None)
    assert not token.is_set
    assert not token.admits(sent("Bearer another-token-0123"))
