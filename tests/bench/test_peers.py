"""Every peer's configuration renders, and names what all of them share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import peers, scenarios
from bench.around import Around, upstream_config
from bench.installing import Tool
from bench.peers import envoy, gateway
from bench.peers.peer import Use
from gateway.config.compiling import load_settings

AROUND = Around(
    issuer="http://127.0.0.1:9000",
    client_id="bench",
    client_secret="hidden",
    redis_port=6390,
    redis_pid=1,
    redis_version="Redis 7",
    static=3001,
    streams=3002,
)
TOOL = Tool(Path("/bin/program"), "1", "here", modules=Path("/modules"))


@pytest.mark.parametrize("use", [pytest.param(use, id=use.value) for use in Use])
@pytest.mark.parametrize("peer", [pytest.param(peer, id=peer.name) for peer in peers.ALL])
def test_a_peer_serves_the_same_upstreams_and_signs_in_at_the_same_provider(peer, use, tmp_path):
    command = peer.render(tmp_path, TOOL, AROUND, 8081, use)
    said = " ".join(command.arguments) + "".join(file.read_text() for file in tmp_path.iterdir())
    assert all(word in said for word in ("8081", "3001", "3002"))
    if peer.signs_in:
        assert all(word in said for word in ("127.0.0.1:9000", "bench"))
    if peer.sessions == "Redis":
        assert "6390" in said


def test_the_gateway_accepts_its_configuration(tmp_path):
    gateway.render(tmp_path, TOOL, AROUND, 8081, Use.REQUESTS)
    settings, _ = load_settings(tmp_path / "gateway.yaml", environ={})
    assert settings.server.listen.port == 8081


def test_the_least_that_envoy_can_cost_changes_its_filter_alone():
    usual, least = envoy.bootstrap(AROUND, 8081), envoy.bootstrap(AROUND, 8081, disable_token_encryption=True)
    assert "disable_token_encryption" not in json.dumps(usual)
    assert "disable_token_encryption" in json.dumps(least)


def test_the_upstream_answers_every_size_with_and_without_a_session(tmp_path):
    config = upstream_config(tmp_path, 3001)
    assert all(f"location = {prefix}/{name} " in config for prefix in ("", "/public") for name in ("100", "16k", "10m"))


def test_names_of_peers_and_scenarios_are_unique():
    assert len({peer.name for peer in peers.ALL}) == len(peers.ALL)
    assert len({one.name for one in scenarios.ALL}) == len(scenarios.ALL)


def test_nobody_is_measured_in_what_they_cannot_do():
    able = {peer.name: {one.name for one in scenarios.ALL if scenarios.possible(peer, one)} for peer in peers.ALL}
    assert able["this gateway"] == {one.name for one in scenarios.ALL}
    assert "check" not in able["Envoy, oauth2 filter"]
    assert "logins" not in able["nginx, bare proxy"]
    assert able["this gateway, public route"] == {"get-100", "get-16k", "get-100-new"}
