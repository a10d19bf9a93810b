"""IH-22, IH-23: the client is whom the operator's own proxies saw, and nobody else says who it is."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.trusted_proxies import TrustedProxies

NETWORKS = (ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48"), ip_network("127.0.0.1/32"))


@pytest.mark.parametrize(
    ("peer", "networks", "trusted"),
    [
        pytest.param("10.0.0.9", NETWORKS, True, id="inside"),
        pytest.param("11.0.0.9", NETWORKS, False, id="outside"),
        pytest.param("2001:db8:1::5", NETWORKS, True, id="IPv6 inside"),
        pytest.param("2001:db8:2::5", NETWORKS, False, id="IPv6 outside"),
        pytest.param("::ffff:10.0.0.9", NETWORKS, True, id="IPv4 on a dual-stack socket"),
        pytest.param("10.0.0.9", (), False, id="nobody by default"),
        pytest.param(None, NETWORKS, False, id="a peer without an address"),
        pytest.param("", NETWORKS, False, id="a Unix socket's empty name"),
        pytest.param("fe80::1%eth0", (ip_network("fe80::/10"),), True, id="a link-local address with its zone"),
        pytest.param("010.0.0.9", NETWORKS, False, id="octal or not"),
    ],
)
def test_trust_is_an_address_in_a_listed_network(peer, networks, trusted):
    assert TrustedProxies(networks).trusts(peer) is trusted
    assert TrustedProxies(networks, unix=True).trusts(peer) is (trusted or not peer)


@pytest.mark.parametrize(
    ("peer", "xff", "client"),
    [
        pytest.param("198.51.100.7", [b"127.0.0.1"], "198.51.100.7", id="IH-22 an untrusted peer is the client"),
        pytest.param("198.51.100.7", [b"10.0.0.1, 127.0.0.1"], "198.51.100.7", id="IH-22 whatever it says"),
        pytest.param("10.0.0.9", [b"127.0.0.1, 198.51.100.7"], "198.51.100.7", id="IH-23 the right-most untrusted hop"),
        pytest.param("10.0.0.9", [b"203.0.113.5, 198.51.100.7,10.1.1.1"], "198.51.100.7", id="trusted hops are passed over"),
        pytest.param("10.0.0.9", [b"203.0.113.5", b"198.51.100.7"], "198.51.100.7", id="the last line is the nearest"),
        pytest.param("10.0.0.9", [b"10.0.0.1, 10.0.0.2"], "10.0.0.1", id="trusted hops alone: the left-most"),
        pytest.param("10.0.0.9", [], "10.0.0.9", id="no header"),
        pytest.param("10.0.0.9", [b""], "10.0.0.9", id="empty header"),
        pytest.param("10.0.0.9", [b"198.51.100.7, unknown"], "10.0.0.9", id="unknown stops the walk"),
        pytest.param("10.0.0.9", [b"198.51.100.7, , 10.0.0.2"], "10.0.0.2", id="an empty hop stops the walk"),
        pytest.param("10.0.0.9", [b"198.51.100.7, \xff\r\n"], "10.0.0.9", id="garbage stops the walk"),
        pytest.param("10.0.0.9", [b"198.51.100.7:4711"], "198.51.100.7", id="IPv4 with a port"),
        pytest.param("10.0.0.9", [b"[2001:db8::7]:4711"], "2001:db8::7", id="IPv6 with a port"),
        pytest.param("10.0.0.9", [b"[2001:db8::7]"], "2001:db8::7", id="IPv6 in brackets"),
        pytest.param("10.0.0.9", [b"2001:DB8:0::7"], "2001:db8::7", id="IPv6, shortened"),
        pytest.param("::ffff:10.0.0.9", [b"::ffff:198.51.100.7"], "198.51.100.7", id="IPv4 in IPv6"),
        pytest.param("::ffff:198.51.100.7", [], "198.51.100.7", id="a peer on a dual-stack socket"),
        pytest.param("10.0.0.9", [b"198.51.100.7" + b", 10.0.0.1" * 40], "10.0.0.1", id="more hops than anybody has"),
        pytest.param(None, [b"198.51.100.7"], "unknown", id="no peer address"),
    ],
)
def test_the_client_is_the_right_most_untrusted_hop(peer, xff, client):
    assert TrustedProxies(NETWORKS).client(peer, xff) == client


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"10.0.0.1", b"1.2.3.4, 10.0.0.2", b"::1", b"[::1]:1", b"unknown"]), max_size=6))
def test_nobody_untrusted_chooses_the_client(xff):
    assert TrustedProxies(NETWORKS).client("198.51.100.7", xff) == "198.51.100.7"
    client = TrustedProxies(NETWORKS).client("10.0.0.9", xff)
    assert client.isascii()
    assert client.isprintable()


@pytest.mark.parametrize(
    ("xff", "client"),
    [
        pytest.param([b"127.0.0.1, 198.51.100.7"], "198.51.100.7", id="the hop that the socket's peer saw"),
        pytest.param([b"203.0.113.5, 10.0.0.1"], "203.0.113.5", id="past a proxy with an address"),
        pytest.param([], "unknown", id="nothing told"),
        pytest.param([b"unknown"], "unknown", id="nobody known"),
    ],
)
def test_behind_a_unix_socket_the_first_hop_is_told(xff, client):
    assert TrustedProxies(NETWORKS, unix=True).client("", xff) == client
    assert TrustedProxies(NETWORKS).client("", xff) == "unknown"


def test_what_is_remembered_of_peers_is_bounded():
    proxies = TrustedProxies(NETWORKS)
    for number in range(10_000):
        proxies.trusts(f"198.51.{number // 256}.{number % 256}")
    assert len(proxies._known) <= 4096
    assert proxies.trusts("10.0.0.9")
