"""Metadata and keys kept fresh: one fetch for all who wait, no hammering, no going back to what is not ours."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from gateway.errors import IdTokenRefused, ProviderFailed, ProviderTimeout, ProviderUnavailable
from gateway.oidc import revoking
from gateway.oidc.kept import FIRST_PAUSE, UNKNOWN_KEY_INTERVAL
from gateway.oidc.provider import KEYS_FRESH, KEYS_USABLE, METADATA_FRESH, Provider
from gateway.oidc.revoking import REVOCATION_PAUSES
from gateway.oidc.token_response import Tokens
from tests.support.fake_provider import FakeProvider, sign_in_at

TOKENS = Tokens(access_token="at", token_type="Bearer", expires_at=None, refresh_token="rt", id_token="it", scope=None)


class Clock:
    """Time that passes when told to: epoch seconds when called, which may be set otherwise, and ``elapsed`` ones, which may not."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.passed = 0.0

    def __call__(self) -> float:
        return self.now

    def elapsed(self) -> float:
        return self.passed

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.passed += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def op(clock: Clock):
    async with FakeProvider(clock=clock) as running:
        yield running


@pytest.fixture
async def provider(op: FakeProvider, clock: Clock):
    made = Provider(op.settings(), clock=clock, monotonic=clock.elapsed)
    yield made
    await made.close()


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_nothing_is_fetched_before_it_is_needed(op: FakeProvider, provider: Provider):
    await asyncio.sleep(0)
    assert op.discovery_requests == []
    await provider.metadata()
    await until(lambda: op.jwks_requests)
    assert (len(op.discovery_requests), len(op.jwks_requests)) == (1, 1)


async def test_all_who_wait_share_one_fetch(op: FakeProvider, provider: Provider):
    answers = await asyncio.gather(*(provider.metadata() for _ in range(100)))
    assert len(set(map(id, answers))) == 1
    assert len(op.discovery_requests) == 1


async def test_who_goes_away_takes_nothing_from_those_who_stay(op: FakeProvider, provider: Provider):
    first = asyncio.create_task(provider.metadata())
    second = asyncio.create_task(provider.metadata())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).issuer == op.issuer
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(op.discovery_requests) == 1


async def test_tk_26_a_provider_that_was_down_is_found_without_a_restart(op: FakeProvider, provider: Provider, clock: Clock):
    await op.stop()
    with pytest.raises(ProviderUnavailable):
        await provider.metadata()
    await op.start()
    with pytest.raises(ProviderUnavailable):
        await provider.metadata()
    assert op.discovery_requests == []
    clock.later(1)
    assert (await provider.metadata()).issuer == op.issuer


async def test_a_provider_that_fails_is_left_alone_for_longer_each_time(op: FakeProvider, provider: Provider, clock: Clock):
    op.misbehaviour.discovery_status = 500
    asked_at = []
    start = clock.passed
    for _ in range(400):
        before = len(op.discovery_requests)
        with pytest.raises(ProviderUnavailable):
            await provider.metadata()
        if len(op.discovery_requests) > before:
            asked_at.append(clock.passed - start)
        clock.later(0.5)
    assert asked_at == [0, 1, 3, 7, 15, 31, 63, 123, 183]


async def test_metadata_is_served_while_it_is_fetched_anew(op: FakeProvider, provider: Provider, clock: Clock):
    old = await provider.metadata()
    op.misbehaviour.discovery_hangs = True
    clock.later(METADATA_FRESH)
    assert await provider.metadata() is old
    await until(lambda: len(op.discovery_requests) == 2)
    assert await provider.metadata() is old
    assert len(op.discovery_requests) == 2


@pytest.mark.parametrize(
    "knobs",
    [
        pytest.param({"discovery_issuer": "https://evil.example"}, id="TK-26 changed issuer"),
        pytest.param({"discovery_document": {"code_challenge_methods_supported": ["plain"]}}, id="ST-17 plain alone"),
        pytest.param({"discovery_document": {"jwks_uri": None}}, id="TK-26 no jwks_uri"),
        pytest.param({"discovery_status": 404}, id="TK-26 404"),
    ],
)
async def test_what_is_not_acceptable_never_replaces_what_was(op: FakeProvider, provider: Provider, clock: Clock, knobs: dict):
    old = await provider.metadata()
    for name, value in knobs.items():
        setattr(op.misbehaviour, name, value)
    clock.later(METADATA_FRESH)
    with capture_logs() as logged:
        await provider.metadata()
        await until(lambda: any(line["event"] == "document.failed" for line in logged))
    assert await provider.metadata() is old


@pytest.mark.parametrize(
    "knobs",
    [
        pytest.param({"discovery_issuer": "https://evil.example"}, id="TK-26 issuer mismatch"),
        pytest.param({"discovery_document": {"token_endpoint": "http://op.example/token"}}, id="TK-26 http endpoint"),
        pytest.param({"discovery_document": {"jwks_uri": None}}, id="TK-26 no jwks_uri"),
        pytest.param({"discovery_status": 404}, id="TK-26 404"),
    ],
)
async def test_without_acceptable_metadata_there_is_no_login(op: FakeProvider, provider: Provider, knobs: dict):
    for name, value in knobs.items():
        setattr(op.misbehaviour, name, value)
    with pytest.raises(ProviderFailed):
        await provider.metadata()


async def test_tk_26_a_changed_host_is_logged(op: FakeProvider, provider: Provider, clock: Clock):
    await provider.metadata()
    op.misbehaviour.discovery_document = {"token_endpoint": "http://127.0.0.1:1/token"}
    clock.later(METADATA_FRESH)
    with capture_logs() as logged:
        await provider.metadata()
        await until(lambda: any(line["event"] == "metadata.hosts_changed" for line in logged))


async def test_a_provider_that_hangs_is_a_timeout(op: FakeProvider, clock: Clock):
    op.misbehaviour.discovery_hangs = True
    hasty = Provider(op.settings(total_timeout=0.2), clock=clock, monotonic=clock.elapsed)
    with pytest.raises(ProviderTimeout):
        await hasty.metadata()
    await hasty.close()


async def test_id_07_a_rotated_key_is_fetched_when_its_first_token_comes(op: FakeProvider, provider: Provider):
    await sign_in_at(provider, op)
    op.rotate_key("key-2")
    assert (await sign_in_at(provider, op)).claims.subject == "alice-sub"
    assert len(op.jwks_requests) == 2


async def test_id_08_a_flood_of_unknown_kids_is_one_fetch_an_interval(op: FakeProvider, provider: Provider, clock: Clock):
    await sign_in_at(provider, op)
    op.misbehaviour.id_token_header = {"kid": "unknown"}
    for _ in range(20):
        with pytest.raises(IdTokenRefused):
            await sign_in_at(provider, op)
    assert len(op.jwks_requests) == 2
    clock.later(UNKNOWN_KEY_INTERVAL)
    for _ in range(3):
        with pytest.raises(IdTokenRefused):
            await sign_in_at(provider, op)
    assert len(op.jwks_requests) == 3


async def test_keys_that_could_not_be_fetched_are_the_providers_fault_until_they_can(op: FakeProvider, provider: Provider, clock: Clock):
    await sign_in_at(provider, op)
    op.rotate_key("key-2")
    op.misbehaviour.jwks_status = 500
    for _ in range(5):
        with pytest.raises(ProviderUnavailable):
            await sign_in_at(provider, op)
    assert len(op.jwks_requests) == 2, "the pause after a failure holds"
    op.misbehaviour.jwks_status = 200
    clock.later(FIRST_PAUSE)
    assert (await sign_in_at(provider, op)).claims.subject == "alice-sub", "and nothing beside it"


async def test_a_key_set_without_the_signing_key_signs_nobody_in(op: FakeProvider, provider: Provider):
    op.misbehaviour.jwks_unknown_kid = True
    with pytest.raises(IdTokenRefused):
        await sign_in_at(provider, op)


async def test_keys_are_used_for_an_hour_and_no_longer(op: FakeProvider, provider: Provider, clock: Clock):
    await sign_in_at(provider, op)
    op.misbehaviour.jwks_status = 500
    clock.later(KEYS_FRESH)
    with capture_logs() as logged:
        await sign_in_at(provider, op)
        await until(lambda: any(line["event"] == "document.failed" for line in logged))
    clock.later(KEYS_USABLE - KEYS_FRESH)
    spent = len(op.token_requests)
    with pytest.raises(ProviderUnavailable):
        await sign_in_at(provider, op)
    assert len(op.token_requests) == spent


async def test_a_code_is_not_spent_while_there_are_no_keys(op: FakeProvider, provider: Provider):
    op.misbehaviour.jwks_status = 503
    with pytest.raises(ProviderUnavailable):
        await sign_in_at(provider, op)
    assert op.token_requests == []


async def test_a_cancelled_exchange_leaves_the_provider_usable(op: FakeProvider, provider: Provider):
    op.misbehaviour.token_hangs = True
    going = asyncio.create_task(sign_in_at(provider, op))
    await until(lambda: op.token_requests)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    op.misbehaviour.token_hangs = False
    op.login_as = "bob"
    assert (await sign_in_at(provider, op)).claims.subject == "bob-sub"


@pytest.mark.parametrize("seconds", [-86_400, 86_400 * 365], ids=["back", "forth"])
async def test_a_wall_clock_that_is_set_makes_nothing_old_or_eternal(op: FakeProvider, provider: Provider, clock: Clock, seconds: float):
    await sign_in_at(provider, op)
    clock.now += seconds
    op.misbehaviour.discovery_status = op.misbehaviour.jwks_status = 500
    await sign_in_at(provider, op)
    assert (len(op.discovery_requests), len(op.jwks_requests)) == (1, 1)
    clock.passed += METADATA_FRESH
    await provider.metadata()
    await until(lambda: len(op.discovery_requests) == 2)


async def test_a_pause_ends_though_the_wall_clock_was_set_back(op: FakeProvider, provider: Provider, clock: Clock):
    op.misbehaviour.discovery_status = 500
    with pytest.raises(ProviderUnavailable):
        await provider.metadata()
    op.misbehaviour.discovery_status = 200
    clock.now -= 3600
    with pytest.raises(ProviderUnavailable):
        await provider.metadata()
    clock.passed += 1
    assert (await provider.metadata()).issuer == op.issuer


async def test_a_fault_that_nobody_foresaw_is_a_failed_provider_and_a_pause(op: FakeProvider, clock: Clock):
    # No configuration lets these settings through: they stand for a mistake of ours that a fetch meets.
    broken = Provider(op.settings(id_token_algs=None), clock=clock, monotonic=clock.elapsed)
    with capture_logs() as logged:
        for _ in range(3):
            with pytest.raises(ProviderFailed, match="TypeError") as failed:
                await broken.metadata()
            assert type(failed.value) is ProviderFailed
    assert len(op.discovery_requests) == 1
    assert [line["attempts"] for line in logged if line["event"] == "document.failed"] == [1]
    await broken.close()


async def test_a_closed_provider_opens_no_connection(op: FakeProvider, provider: Provider):
    never_asked = Provider(op.settings())
    await never_asked.close()
    with pytest.raises(ProviderUnavailable):
        await never_asked.metadata()
    assert op.discovery_requests == []
    await sign_in_at(provider, op)
    await provider.close()
    assert (await provider.metadata()).issuer == op.issuer, "what is known needs no connection"
    with pytest.raises(ProviderUnavailable):
        await sign_in_at(provider, op)
    await provider.revoke(TOKENS)
    assert (len(op.token_requests), op.revoke_requests) == (1, [])


async def test_who_waits_while_the_gateway_stops_is_told_so(op: FakeProvider, provider: Provider):
    op.misbehaviour.discovery_hangs = True
    waiting = asyncio.create_task(provider.metadata())
    await until(lambda: op.discovery_requests)
    await provider.close()
    with pytest.raises(ProviderUnavailable):
        await waiting


async def test_tokens_are_revoked_refresh_token_first(op: FakeProvider, provider: Provider):
    await provider.revoke(TOKENS)
    assert op.revoked == ["rt", "at"]


@dataclass
class Pauses:
    """Waits between tries that a test ends: how long each was meant to be."""

    meant: list[float] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, seconds: float) -> None:
        self.meant.append(seconds)
        await self.over.wait()


@pytest.fixture
async def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
async def patient(op: FakeProvider, pauses: Pauses):
    made = Provider(op.settings(), sleep=pauses)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("knobs", "asked"),
    [
        pytest.param({"revoke_status": 503}, 6, id="LO-22 503"),
        pytest.param({"revoke_status": 400}, 2, id="LO-22 400"),
        pytest.param({"discovery_status": 500}, 0, id="no metadata"),
        pytest.param({"discovery_document": {"revocation_endpoint": None}}, 0, id="no endpoint"),
    ],
)
async def test_lo_22_a_revocation_that_fails_fails_nobody(op: FakeProvider, patient: Provider, pauses: Pauses, knobs: dict, asked: int):
    for name, value in knobs.items():
        setattr(op.misbehaviour, name, value)
    pauses.over.set()
    with capture_logs() as logged:
        await patient.revoke(TOKENS)
        given_up = "revocation_endpoint" not in knobs.get("discovery_document", {}) and knobs.get("revoke_status") != 400
        await until(lambda: not given_up or any(line["event"] == "revocation.given_up" for line in logged))
    assert op.revoked == []
    assert len(op.revoke_requests) == asked
    assert pauses.meant == (list(REVOCATION_PAUSES) if given_up else [])


async def test_lo_22_a_revocation_without_an_answer_ends(op: FakeProvider, patient: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(revoking, "REVOCATION_TIMEOUT", 0.5)
    await patient.metadata()
    op.misbehaviour.revoke_hangs = True
    await patient.revoke(TOKENS)
    assert [request.form["token"] for request in op.revoke_requests] == ["rt", "at"], "the one that hangs does not keep the other"


async def test_an_access_token_is_revoked_though_the_refresh_token_was_not(op: FakeProvider, patient: Provider):
    op.misbehaviour.revoke_status, op.misbehaviour.revoke_fails_for = 400, ("refresh_token",)
    await patient.revoke(TOKENS)
    assert op.revoked == ["at"]


@pytest.mark.parametrize(
    ("retry_after", "meant"),
    [pytest.param(None, 2, id="back-off"), pytest.param("7", 7, id="as asked"), pytest.param("3600", 30, id="at most")],
)
async def test_lo_22_what_was_put_off_is_tried_again(
    op: FakeProvider, patient: Provider, pauses: Pauses, retry_after: str | None, meant: float
):
    op.misbehaviour.revoke_status, op.misbehaviour.revoke_fails_for = 503, ("refresh_token",)
    op.misbehaviour.revoke_retry_after = retry_after
    await patient.revoke(TOKENS)
    assert op.revoked == ["at"]
    await until(lambda: pauses.meant)
    op.misbehaviour.revoke_status = 200
    pauses.over.set()
    await until(lambda: op.revoked == ["at", "rt"])
    assert pauses.meant == [meant]
    assert len(op.revoke_requests) == 3, "what was revoked is left alone"


async def test_revocations_that_wait_are_bounded_and_end_with_the_gateway(
    op: FakeProvider, patient: Provider, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(revoking, "MAX_PUT_OFF", 2)
    op.misbehaviour.revoke_status = 503
    with capture_logs() as logged:
        for _ in range(3):
            await patient.revoke(TOKENS)
        await until(lambda: any(line["event"] == "revocation.given_up" for line in logged))
    assert [line["event"] for line in logged].count("revocation.given_up") == 1
    await until(lambda: len(pauses.meant) == 2)
    asked = len(op.revoke_requests)
    await patient.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "revoke again"]
    assert len(op.revoke_requests) == asked


async def test_sign_out_goes_to_the_provider(op: FakeProvider, provider: Provider):
    url = provider.end_session_url(
        await provider.metadata(), id_token_hint="it", post_logout_redirect_uri="http://127.0.0.1/oauth2/signed_out", state="s"
    )
    assert url is not None
    assert url.startswith(f"{op.issuer}/end_session?")
