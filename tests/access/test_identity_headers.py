"""IH: claims become header values that cannot split and cannot be mistaken for each other."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.access.identity_headers import header_value, identity_headers
from gateway.errors import RequestTooLarge
from gateway.identity import Identity


def bob(**claims):
    return Identity(issuer="https://id.example.org", subject="bob", claims={"sub": "bob", **claims})


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        pytest.param("bob", b"bob", id="plain"),
        pytest.param("bob@example.org", b"bob@example.org", id="e-mail"),
        pytest.param("Bob Builder", b"Bob Builder", id="a space inside stays"),
        pytest.param("adm\r\nX-Forwarded-Groups: root", b"adm%0D%0AX-Forwarded-Groups: root", id="IH-16 CR LF"),
        pytest.param("a\0b", b"a%00b", id="IH-16 NUL"),
        pytest.param("a\tb\x7f", b"a%09b%7F", id="IH-16 TAB and DEL"),
        pytest.param("bob, admin", b"bob, admin", id="IH-16 a comma in a name"),
        pytest.param("bob;x", b"bob;x", id="IH-16 a semicolon"),
        pytest.param("b\u00f8b", b"b%C3%B8b", id="IH-16 a letter beyond ASCII"),
        pytest.param("a\u202eb", b"a%E2%80%AEb", id="IH-16 right-to-left override"),
        pytest.param("\u010d\u010a", b"%C4%8D%C4%8A", id="characters whose low byte is CR LF"),
        pytest.param("100%", b"100%25", id="a percent sign"),
        pytest.param("%41", b"%2541", id="what looks encoded"),
        pytest.param(" bob ", b"%20bob%20", id="IH-16 spaces at the ends"),
        pytest.param("  b  b  ", b"%20%20b  b%20%20", id="several spaces"),
        pytest.param("  ", b"%20%20", id="nothing but spaces"),
        pytest.param("\ud800", b"%ED%A0%80", id="half a surrogate pair"),
        pytest.param("", None, id="IH-16 empty"),
        pytest.param(None, None, id="IH-16 null"),
        pytest.param(7, b"7", id="IH-16 a number"),
        pytest.param(-1.5, b"-1.5", id="a fraction"),
        pytest.param(0, b"0", id="zero is a number"),
        pytest.param(True, b"true", id="true"),
        pytest.param(False, b"false", id="false"),
        pytest.param(float("nan"), None, id="not a number"),
        pytest.param(float("inf"), None, id="infinity"),
        pytest.param(10**5000, None, id="a number of five thousand digits"),
        pytest.param(["a", "b"], b"a,b", id="IH-16 a list"),
        pytest.param(("a", "b"), b"a,b", id="a tuple"),
        pytest.param(["Admin"], b"Admin", id="IH-34 another case"),
        pytest.param(["x,admin"], b"x%2Cadmin", id="IH-34 a comma in a member"),
        pytest.param(["x%2Cadmin"], b"x%252Cadmin", id="IH-34 an encoded comma in a member"),
        pytest.param(["/admin"], b"/admin", id="IH-34 a path"),
        pytest.param([" admin"], b"%20admin", id="a space before a member"),
        pytest.param(["a", "\nb"], b"a,%0Ab", id="a line end in a member"),
        pytest.param({"admin": 1}, None, id="IH-34 an object"),
        pytest.param({}, None, id="an empty object"),
        pytest.param([["admin"]], None, id="IH-34 a list in a list"),
        pytest.param([], None, id="an empty list"),
        pytest.param([""], None, id="a list of an empty string"),
        pytest.param(["admin", ""], None, id="an empty string in a list"),
        pytest.param(["admin", 7], None, id="a number in a list"),
        pytest.param(["admin", None], None, id="null in a list"),
        pytest.param([{"admin": 1}], None, id="an object in a list"),
    ],
)
def test_a_claim_as_a_header(claim, value):
    assert header_value(claim) == value


def test_headers_follow_the_mapping():
    identity = bob(email="bob@example.org", groups=["a", "b"], empty="")
    mapping = (("X-Groups", "groups"), ("X-User", "sub"), ("X-Missing", "missing"), ("X-Empty", "empty"))
    assert identity_headers(identity, mapping, None) == ((b"X-Groups", b"a,b"), (b"X-User", b"bob"))
    assert identity_headers(None, mapping, ("at", "it")) == ()


def test_ih_17_a_missing_claim_has_no_header():
    assert identity_headers(bob(), (("X-Forwarded-Groups", "groups"),), None) == ()


@pytest.mark.parametrize(
    ("tokens", "lines"),
    [
        pytest.param(("at", "it"), ((b"X-A", b"at"), (b"X-I", b"it")), id="both"),
        pytest.param(("at", None), ((b"X-A", b"at"),), id="one"),
        pytest.param(None, (), id="none"),
        pytest.param(("a%2b~/=", ""), ((b"X-A", b"a%2b~/="),), id="a token is never encoded"),
        pytest.param(("at\r\nX: y", "a b"), (), id="TK-11 a token that could split is not sent"),
        pytest.param(("t\u00f8ken", "\ud800"), (), id="TK-11 a token beyond ASCII is not sent"),
    ],
)
def test_tokens_only_where_they_are_asked_for(tokens, lines):
    assert identity_headers(bob(), (("X-A", "token:access"), ("X-I", "token:id")), tokens) == lines


def test_a_claim_cannot_name_a_token():
    identity = bob(**{"token:access": "forged", "token:other": "forged"})
    assert identity_headers(identity, (("X-A", "token:access"), ("X-O", "token:other")), None) == ()


def test_the_whole_block_is_bounded():
    fits = "a" * (16 * 1024 - len("X-A") - 4)
    assert identity_headers(bob(), (("X-A", "token:access"),), (fits, None))
    with pytest.raises(RequestTooLarge, match="16385 bytes"):
        identity_headers(bob(), (("X-A", "token:access"),), (fits + "a", None))


_strings = st.text(st.characters(), max_size=30) | st.text(" %,\r\n\tab\u00e9\u010a\ud800", max_size=8)


@given(_strings)
@example(" ")
def test_a_string_is_told_by_printable_ascii_and_can_be_read_back(claim):
    value = header_value(claim)
    if value is None:
        assert claim == ""
        return
    text = value.decode("ascii")
    assert all(" " <= character <= "~" for character in text)
    assert text == text.strip(" ")
    assert unquote(text, errors="surrogatepass") == claim


@given(st.lists(_strings.filter(bool), min_size=1, max_size=6))
def test_a_list_is_told_by_printable_ascii_and_can_be_read_back(claim):
    text = header_value(claim).decode("ascii")
    assert all(" " <= character <= "~" for character in text)
    assert [unquote(member, errors="surrogatepass") for member in text.split(",")] == claim


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_strings, inner, max_size=3),
    max_leaves=8,
)


@given(_json)
def test_any_json_is_a_value_or_nothing(claim):
    value = header_value(claim)
    assert value is None or (value != b"" and all(0x20 <= byte <= 0x7E for byte in value))
