"""The peers, a file each: what is installed, how it is configured, how it is started. Access logs are off for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.peers import envoy, gateway, mod_auth_openidc, nginx, oauth2_proxy

if TYPE_CHECKING:
    from bench.peers.peer import Peer

ALL: tuple[Peer, ...] = (gateway.PEER, gateway.PUBLIC, nginx.PEER, envoy.PEER, envoy.LEAST, oauth2_proxy.PEER, mod_auth_openidc.PEER)
"""In the order of the tables."""
