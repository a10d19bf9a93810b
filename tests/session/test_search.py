"""Which cards an operator's search finds."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from gateway.session.search import Search
from tests.session.test_card import CARD

NOW = CARD.created + 3600.0


@pytest.mark.parametrize(
    ("search", "found"),
    [
        pytest.param(Search(), True, id="nothing asked for"),
        pytest.param(Search(user="alice-4711"), True, id="a whole sub"),
        pytest.param(Search(user="ALICE-4711"), False, id="a sub in another case is another sub"),
        pytest.param(Search(user="4711"), False, id="a part of a sub"),
        pytest.param(Search(user="lic"), True, id="a part of a name"),
        pytest.param(Search(user="ALICE@Example"), True, id="a part of an address, in any case"),
        pytest.param(Search(user="bob"), False, id="somebody else"),
        pytest.param(Search(address=ip_network("192.0.2.1")), True, id="the client's address"),
        pytest.param(Search(address=ip_network("192.0.2.0/24")), True, id="its network"),
        pytest.param(Search(address=ip_network("198.51.100.0/24")), False, id="another network"),
        pytest.param(Search(address=ip_network("2001:db8::/32")), False, id="a network of the other family"),
        pytest.param(Search(min_age=3600), True, id="as old"),
        pytest.param(Search(min_age=3601), False, id="older"),
        pytest.param(Search(max_age=3600), True, id="not older"),
        pytest.param(Search(max_age=3599), False, id="younger"),
        pytest.param(Search(user="alice", min_age=60, address=ip_network("192.0.2.1")), True, id="all of it"),
        pytest.param(Search(user="alice", min_age=60, address=ip_network("192.0.2.2")), False, id="all but one"),
    ],
)
def test_a_search_finds_cards(search, found):
    assert search.matches(CARD, now=NOW) is found


def test_a_session_without_names_or_address_is_found_by_sub_alone():
    card = replace(CARD, name=None, email=None, address="unknown")
    assert Search(user="alice-4711").matches(card, now=NOW)
    assert not Search(user="alice").matches(card, now=NOW)
    assert not Search(address=ip_network("0.0.0.0/0")).matches(card, now=NOW)
