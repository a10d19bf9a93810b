"""The compose file, read: what listens where, who may do what, and names that must meet. No engine runs here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
GATEWAY: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "gateway.yaml").read_text())
DEX: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "dex.yaml").read_text())

each_service = pytest.mark.parametrize("name", list(SERVICES))


def test_gateway_store_provider_and_app():
    assert set(SERVICES) == {"gateway", "store", "provider", "app"}


@each_service
def test_a_service_has_the_least_rights(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@each_service
def test_a_service_has_a_pinned_image(name):
    assert re.fullmatch(r"[a-z0-9/-]+:v?\d+\.\d+[\w.-]*", SERVICES[name]["image"])


@each_service
def test_a_service_tells_its_health_or_why_it_cannot(name):
    check = SERVICES[name]["healthcheck"]
    assert ("test" in check) != (check == {"disable": True})


@each_service
def test_no_secret_stands_in_an_environment(name):
    assert "environment" not in SERVICES[name]
    assert "env_file" not in SERVICES[name]


def test_every_published_port_is_on_loopback():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8080:8080", "127.0.0.1:5556:5556"]


def test_the_store_is_reached_by_the_gateway_alone():
    assert COMPOSE["networks"]["store"] == {"internal": True}
    assert [name for name, service in SERVICES.items() if "store" in service.get("networks", [])] == ["gateway", "store"]
    assert GATEWAY["session"]["store"] == "redis://store:6379/0"


def test_secrets_are_files_that_the_repository_does_not_hold():
    wanted = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert set(COMPOSE["secrets"]) == wanted
    for secret in COMPOSE["secrets"].values():
        folder = (DEPLOY / secret["file"]).parent
        assert (folder / ".gitignore").read_text().splitlines()[0] == "*"
    assert GATEWAY["providers"][0]["client_secret"] == {"file": "/run/secrets/client_secret"}
    assert GATEWAY["session"]["keys"] == [{"file": "/run/secrets/session_key"}]


def test_every_mounted_file_is_there():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, _, mode = volume.split(":")
            assert (DEPLOY / source).is_file()
            assert mode == "ro"


def test_the_issuer_is_one_url_for_browser_and_gateway():
    assert SERVICES["provider"]["network_mode"] == "service:gateway"
    assert GATEWAY["providers"][0]["issuer"] == DEX["issuer"] == "http://127.0.0.1:5556/dex"


def test_the_provider_knows_the_gateways_redirect_uri():
    client = DEX["staticClients"][0]
    assert client["id"] == GATEWAY["providers"][0]["client_id"]
    assert client["redirectURIs"] == [GATEWAY["server"]["public_url"] + "/oauth2/callback"]
    assert "secret" not in client


def test_the_route_leads_to_the_app():
    assert GATEWAY["routes"][0]["upstream"] == "http://app:" + SERVICES["app"]["command"][1]
