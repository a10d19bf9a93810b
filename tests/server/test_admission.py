"""Who may connect, counted: one peer's share, everybody's, and what is given back."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.trusted_proxies import TrustedProxies
from gateway.config.settings import ConnectionLimits
from gateway.server.admission import Admission

PROXIES = TrustedProxies((ip_network("10.0.0.0/8"),))


def admission(**limits) -> Admission:
    return Admission(ConnectionLimits(**limits), PROXIES)


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        pytest.param("198.51.100.7", "198.51.100.7", True, id="one address"),
        pytest.param("198.51.100.7", "198.51.100.8", False, id="two addresses"),
        pytest.param("2001:db8::1", "2001:db8::2", True, id="one IPv6 network of /64"),
        pytest.param("2001:db8::1", "2001:db8:0:1::1", False, id="two IPv6 networks"),
        pytest.param("198.51.100.7", "::ffff:198.51.100.7", True, id="IPv4 on a dual-stack socket"),
        pytest.param("10.0.0.9", "10.0.0.9", False, id="a trusted proxy has no share"),
        pytest.param("", "", False, id="nor has a Unix socket's peer"),
    ],
)
def test_a_peer_has_a_share(first, second, one):
    counted = admission(connections_per_peer=1)
    assert counted.admit(first) is not None
    assert (counted.admit(second) is None) is one


def test_a_proxy_that_names_nobody_has_a_share_itself():
    counted = admission(connections_per_peer=1)
    seat = counted.admit("10.0.0.9", share=True)
    assert seat is not None
    assert counted.admit("10.0.0.9", share=True) is None
    assert counted.admit("10.0.0.9") is not None
    counted.leave(seat)
    assert counted.admit("10.0.0.9", share=True) is not None


def test_everybody_shares_what_there_is():
    counted = admission(connections=2)
    seat = counted.admit("10.0.0.9")
    assert seat is not None
    assert counted.admit("198.51.100.7") is not None
    assert counted.admit("10.0.0.9") is None
    counted.leave(seat)
    assert counted.admit("10.0.0.9") is not None


peers = st.sampled_from(["198.51.100.7", "198.51.100.8", "2001:db8::1", "2001:db8::2", "10.0.0.9", ""])


@given(st.lists(st.tuples(st.booleans(), peers), max_size=60))
def test_what_is_taken_is_given_back(steps):
    counted = admission(connections=8, connections_per_peer=3)
    seats = []
    for comes, peer in steps:
        if comes:
            seat = counted.admit(peer)
            if seat is not None:
                seats.append(seat)
        elif seats:
            counted.leave(seats.pop())
        assert counted.open == len(seats) <= 8
        assert all(seats.count(seat) <= 3 for seat in seats if seat)
    for seat in seats:
        counted.leave(seat)
    assert (counted.open, counted._by_site) == (0, {})


def test_sl_16_few_descriptors_allow_few_connections():
    program = """if True:
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        from gateway.server.admission import connections_by_descriptors
        print(connections_by_descriptors())
    """
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(said.stdout) == 144


def test_what_may_be_raised_is_raised():
    program = """if True:
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))
        from gateway.server.admission import connections_by_descriptors
        print(connections_by_descriptors(), resource.getrlimit(resource.RLIMIT_NOFILE))
    """
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "336 (512, 512)\n"
