"""The authorization response: read without ambiguity, bound to this browser's login."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import CallbackRefused, LoginDenied, ProviderRefused
from gateway.oidc.callback import CallbackParameters, ValidatedCallback, read_callback, validate_callback
from tests.support.fake_provider import example_metadata

ADVERTISED = {"authorization_response_iss_parameter_supported": True}

UNREADABLE = [
    pytest.param("", id="ST-19 nothing"),
    pytest.param("code=a", id="ST-01 no state"),
    pytest.param("code=a&state=", id="ST-01 empty state"),
    pytest.param("code=a&state=" + "s" * 10240, id="ST-01 state of 10 KB"),
    pytest.param("code=a&STATE=s", id="ST-01 name in another case"),
    pytest.param("state=s", id="ST-19 neither code nor error"),
    pytest.param("state=s&code=", id="empty code"),
    pytest.param("state=s&code=a&error=access_denied", id="ST-08 error and code"),
    pytest.param("state=s&state=s&code=a", id="state twice"),
    pytest.param("state=s&stat%65=t&code=a", id="state twice, once escaped"),
    pytest.param("state=s&code=a&code=b", id="code twice"),
    pytest.param("state=s&code=a&code=", id="code twice, once empty"),
    pytest.param("state=s&code=a&iss=x&iss=x", id="iss twice"),
    pytest.param("state=s&error=a&error=b", id="error twice"),
    pytest.param("state=s&error=a&error_description=b&error_description=c", id="description twice"),
    pytest.param("state=s&code=" + "a" * 8193, id="ST-13 code beyond 8 KB"),
    pytest.param("state=s&code=%zz", id="wrong escape"),
    pytest.param("state=s&code=%", id="half an escape"),
    pytest.param("state=s&code=%ff", id="not UTF-8"),
    pytest.param("state=s&code=a%0d%0aX:y", id="line end in the code"),
    pytest.param("state=s%00&code=a", id="NUL in the state"),
    pytest.param("state=s&code=a b", id="raw space"),
    pytest.param("state=s&code=\u00e9", id="raw non-ASCII"),
    pytest.param("state=s&error=x&error_description=" + "a" * 1_000_000, id="ST-08 description of 1 MB"),
    pytest.param("state=s&code=a&" + "&".join(f"p{n}=1" for n in range(100)), id="SL-14 a hundred parameters"),
    pytest.param("code=a;state=s", id="semicolon is no separator"),
]


@pytest.mark.parametrize("query", UNREADABLE)
def test_an_answer_that_cannot_be_read_in_one_way_is_refused(query: str):
    with pytest.raises(CallbackRefused) as refused:
        read_callback(query)
    assert len(refused.value.detail) < 100


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("a" * 8192, id="ST-13 8 KB"),
        pytest.param("a+b", id="ST-13 plus"),
        pytest.param("a%2Bb", id="ST-13 escaped plus"),
        pytest.param("a/b", id="ST-13 slash"),
        pytest.param("a b", id="ST-13 space"),
        pytest.param("\u00e9", id="ST-13 U+00E9"),
        pytest.param("a=b&c", id="separators"),
    ],
)
@pytest.mark.parametrize("encode", [quote_plus, lambda text: quote(text, safe="")], ids=["form", "percent"])
def test_a_code_is_decoded_once(code: str, encode):
    assert read_callback(f"state=s&code={encode(code)}").code == code


def test_unknown_parameters_are_ignored_whatever_they_hold():
    params = read_callback("state=s&code=a&session_state=%ff%zz&x&x=1&=&access_token=t")
    assert params == CallbackParameters(state="s", code="a", error=None, error_description=None, iss=None)


def test_a_description_that_cannot_be_read_hides_no_error():
    assert read_callback("state=s&error=server_error&error_description=%e9").error == "server_error"


def validated(query: str, *, state: str = "s", **metadata) -> ValidatedCallback:
    return validate_callback(read_callback(query), expected_state=state, metadata=example_metadata(**metadata))


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("Abc-defg", id="ST-01 one character off"),
        pytest.param("abc-def", id="ST-01 other case"),
        pytest.param("Abc-def%20", id="ST-01 trailing space"),
        pytest.param("Abc%252Ddef", id="ST-01 escaped twice"),
        pytest.param("x", id="ST-01 wrong"),
        pytest.param("%C3%A9", id="ST-01 not ASCII"),
    ],
)
def test_another_state_is_refused(state: str):
    with pytest.raises(CallbackRefused):
        validated(f"code=a&state={state}", state="Abc-def")
    with pytest.raises(CallbackRefused):
        validated(f"error=access_denied&state={state}", state="Abc-def")


def test_an_expected_state_that_is_empty_matches_nothing():
    params = CallbackParameters(state="", code="a", error=None, error_description=None, iss=None)
    with pytest.raises(CallbackRefused):
        validate_callback(params, expected_state="", metadata=example_metadata())


@pytest.mark.parametrize("answer", ["code=a", "error=access_denied"])
@pytest.mark.parametrize(
    ("iss", "metadata", "accepted"),
    [
        pytest.param("&iss=https://evil.example", ADVERTISED, False, id="ST-10 wrong"),
        pytest.param("", ADVERTISED, False, id="ST-10 missing though advertised"),
        pytest.param("&iss=", ADVERTISED, False, id="ST-10 empty though advertised"),
        pytest.param("&iss=https%3A%2F%2Fop.example", ADVERTISED, True, id="ST-10 right"),
        pytest.param("&iss=https%3A%2F%2Fop.example", {}, True, id="ST-10 not advertised and equal"),
        pytest.param("&iss=https://other.example", {}, False, id="ST-10 not advertised and different"),
        pytest.param("", {}, True, id="ST-10 not advertised and absent"),
        pytest.param("&iss=https://op.example/", ADVERTISED, False, id="ST-10 trailing slash"),
        pytest.param("&iss=https%253A%252F%252Fop.example", ADVERTISED, False, id="ST-10 escaped twice"),
        pytest.param("&iss=https://OP.example", ADVERTISED, False, id="ST-10 other case"),
    ],
)
def test_iss_must_be_the_issuer_of_this_login(answer: str, iss: str, metadata: dict, *, accepted: bool):
    if accepted:
        assert validated(f"{answer}&state=s{iss}", **metadata).issuer == "https://op.example"
    else:
        with pytest.raises(CallbackRefused):
            validated(f"{answer}&state=s{iss}", **metadata)


def test_a_code_is_had_from_a_validated_callback():
    assert validated("code=a&state=s").require_code() == "a"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param("access_denied", LoginDenied, id="ST-08 access_denied"),
        pytest.param("login_required", ProviderRefused, id="ST-08 login_required"),
        pytest.param("<script>", ProviderRefused, id="ST-08 markup"),
        pytest.param("ACCESS_DENIED", ProviderRefused, id="other case"),
    ],
)
def test_an_error_answer_ends_the_login(error: str, kind: type[Exception]):
    with pytest.raises(kind):
        validated(f"error={quote(error)}&state=s").require_code()


def test_nobody_else_makes_a_validated_callback():
    with pytest.raises(TypeError):
        ValidatedCallback(issuer="i", code="a", error=None, error_description=None, witness=object())


def test_nothing_confidential_is_printed():
    params = read_callback("code=SECRET1&state=SECRET2&iss=https://op.example")
    assert "SECRET" not in repr(params) + repr(validate_callback(params, expected_state="SECRET2", metadata=example_metadata()))


text = st.text(st.characters(codec="utf-8"), max_size=300)


@given(text, text)
@settings(deadline=None)
def test_what_is_shown_to_people_has_the_characters_of_the_rfc_alone(error: str, description: str):
    params = CallbackParameters(state="s", code=None, error=error or "e", error_description=description, iss=None)
    callback = validate_callback(params, expected_state="s", metadata=example_metadata())
    for shown in (callback.shown_error, callback.shown_description or ""):
        assert shown is not None
        assert len(shown) <= 200
        assert all(0x20 <= ord(character) <= 0x7E and character not in '"\\' for character in shown)


@given(
    st.text(max_size=200)
    | st.from_regex(r"(state|code|error|iss|x|%63ode)=[a-z%0-9+&=]{0,20}(&(state|code|error|iss)=[a-z%0-9+]{0,9}){0,4}")
)
@settings(deadline=None)
def test_any_query_is_refused_or_read_with_exactly_one_answer_and_a_state(query: str):
    try:
        params = read_callback(query)
    except CallbackRefused:
        return
    assert params.state
    assert (params.code is None) != (params.error is None)
    assert query.count("state=") + query.count("code=") >= 1


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=100), st.text(max_size=100))
@settings(deadline=None)
def test_only_the_very_state_is_accepted(state: str, other: str):
    query = f"code=a&state={quote(state, safe='')}"
    assert validated(query, state=state).code == "a"
    if other != state:
        with pytest.raises(CallbackRefused):
            validate_callback(
                read_callback(query), expected_state=other.encode("utf-8", "ignore").decode() + "!", metadata=example_metadata()
            )
