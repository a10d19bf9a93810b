"""What may be asked of the session API: each parameter in one way, or a refusal that names it and repeats nothing."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.errors import RequestRefused
from gateway.server.session_api_query import ENDING, LISTING, PAGE, Asked, read_ending, read_listing, read_query
from gateway.session.index_names import OfEverybody, OfProvider, OfProviderSession, OfUser
from gateway.session.search import Search

ONE = (("main", "https://id.example.org"),)
TWO = (*ONE, ("other", "https://other.example.org"))
ISSUER = ONE[0][1]


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        pytest.param(None, {}, id="none"),
        pytest.param("", {}, id="empty"),
        pytest.param("sub=alice&limit=5", {"sub": "alice", "limit": "5"}, id="two"),
        pytest.param("sub=a%20b%2Bc+d", {"sub": "a b+c d"}, id="escapes"),
        pytest.param("user=J%C3%BCrgen", {"user": "Jürgen"}, id="UTF-8"),
        pytest.param("sub=", {"sub": ""}, id="an empty one is there, and refused later"),
    ],
)
def test_a_query_is_read(query, asked):
    assert read_query(query, LISTING) == asked


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("usr=alice", id="an unknown parameter"),
        pytest.param("Sub=alice", id="another case"),
        pytest.param("sub=alice&sub=bob", id="one twice"),
        pytest.param("sub=alice&%73ub=bob", id="one twice in two spellings"),
        pytest.param("sub", id="no value"),
        pytest.param("&sub=alice", id="an empty pair"),
        pytest.param("sub=%ff", id="no UTF-8"),
        pytest.param("&".join(["sub=a"] * 40), id="more than there are"),
        pytest.param("all=true", id="all is not said like this"),
        pytest.param("cursor[]=1", id="brackets"),
    ],
)
def test_a_query_is_refused(query):
    with pytest.raises(RequestRefused) as refused:
        read_query(query, LISTING)
    assert "alice" not in refused.value.detail


def test_what_ends_takes_no_filter():
    for name in set(LISTING) - set(ENDING):
        with pytest.raises(RequestRefused):
            read_query(f"sub=alice&{name}=1", ENDING)


@pytest.mark.parametrize(
    ("asked", "providers", "listings"),
    [
        pytest.param({}, TWO, (OfEverybody(),), id="everybody"),
        pytest.param({"provider": "other"}, TWO, (OfProvider("other"),), id="one provider's"),
        pytest.param({"provider": "gone"}, ONE, (OfProvider("gone"),), id="those of a provider that is configured no more"),
        pytest.param({"sub": "alice"}, ONE, (OfUser(ISSUER, "alice"),), id="a user's"),
        pytest.param({"sub": "alice"}, TWO, (OfUser(ISSUER, "alice"), OfUser(TWO[1][1], "alice")), id="a user's at every provider"),
        pytest.param({"sub": "alice", "provider": "other"}, TWO, (OfUser(TWO[1][1], "alice"),), id="a user's at one"),
        pytest.param({"sub": "alice", "issuer": "https://old"}, ONE, (OfUser("https://old", "alice"),), id="a user's at an issuer"),
        pytest.param({"sid": "s-1"}, ONE, (OfProviderSession(ISSUER, "s-1"),), id="a provider session's"),
    ],
)
def test_whose_sessions_are_listed(asked, providers, listings):
    assert read_listing(asked, providers) == Asked(listings, Search(), PAGE, None)


def test_what_a_search_asks_for():
    asked = {"user": "ali", "address": "192.0.2.0/24", "min_age": "30m", "max_age": "12h", "limit": "7", "cursor": "abc"}
    search = Search(user="ali", address=ip_network("192.0.2.0/24"), min_age=1800.0, max_age=43_200.0)
    assert read_listing(asked, ONE) == Asked((OfEverybody(),), search, 7, "abc")


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        pytest.param({"sub": ""}, "sub", id="an empty sub"),
        pytest.param({"sub": "x" * 1025}, "sub", id="a long sub"),
        pytest.param({"sub": "a", "sid": "b"}, "sub, sid", id="sub and sid"),
        pytest.param({"issuer": "https://x"}, "issuer", id="an issuer alone"),
        pytest.param({"sub": "a", "issuer": "https://x", "provider": "main"}, "issuer, provider", id="issuer and provider"),
        pytest.param({"sub": "a", "provider": "gone"}, "provider", id="a user's at an unknown provider"),
        pytest.param({"provider": "MAIN"}, "provider", id="no provider's id"),
        pytest.param({"address": "192.0.2.1/24"}, "address", id="a network with host bits"),
        pytest.param({"address": "example.org"}, "address", id="no address"),
        pytest.param({"min_age": "30"}, "min_age", id="no unit"),
        pytest.param({"max_age": "-1s"}, "max_age", id="less than nothing"),
        pytest.param({"limit": "0"}, "limit", id="no sessions"),
        pytest.param({"limit": "1001"}, "limit", id="more than a page"),
        pytest.param({"limit": "1e2"}, "limit", id="no whole number"),
        pytest.param({"limit": "٣"}, "limit", id="another alphabet's number"),
    ],
)
def test_a_search_is_refused_by_the_parameters_name(asked, named):
    with pytest.raises(RequestRefused) as refused:
        read_listing(asked, ONE)
    assert refused.value.detail.startswith(f"{named}: ")


@pytest.mark.parametrize(
    ("asked", "listings"),
    [
        pytest.param({"sub": "alice"}, (OfUser(ISSUER, "alice"),), id="a user's"),
        pytest.param({"sid": "s-1"}, (OfProviderSession(ISSUER, "s-1"),), id="a provider session's"),
        pytest.param({"confirm": "all"}, (OfEverybody(),), id="all"),
        pytest.param({"confirm": "all", "provider": "gone"}, (OfProvider("gone"),), id="all of a provider"),
    ],
)
def test_whose_sessions_are_ended(asked, listings):
    assert read_ending(asked, ONE) == listings


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({}, id="nobody's"),
        pytest.param({"provider": "main"}, id="a provider's, not confirmed"),
        pytest.param({"issuer": ISSUER}, id="an issuer's"),
        pytest.param({"confirm": "yes"}, id="confirmed with another word"),
        pytest.param({"confirm": "ALL"}, id="confirmed loudly"),
        pytest.param({"confirm": "all", "sub": "alice"}, id="all, and a user's"),
        pytest.param({"confirm": "all", "issuer": ISSUER}, id="all of an issuer"),
        pytest.param({"sub": ""}, id="an empty user's"),
        pytest.param({"confirm": "all", "provider": ""}, id="all of an empty provider"),
    ],
)
def test_an_ending_that_is_not_clear_ends_nobody(asked):
    with pytest.raises(RequestRefused):
        read_ending(asked, ONE)
