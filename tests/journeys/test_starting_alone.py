"""The gateway starts while everything behind it is down, says so, and recovers without a restart."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway_process import gateway, new_key_file
from tests.support.mirror_app import mirror_app
from tests.support.mock_provider import mock_provider
from tests.support.ports import free_port
from tests.support.user_agent import FETCH, UserAgent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess


async def test_it_starts_while_the_provider_is_down_and_recovers(tmp_path: Path) -> None:
    provider_port = free_port()
    async with (
        mirror_app() as app,
        gateway(
            tmp_path,
            issuer=f"http://127.0.0.1:{provider_port}",
            client_id="gateway",
            client_secret="a client secret that is long",
            store="memory",
            upstream=app.url,
        ) as running,
        UserAgent(running.url) as browser,
    ):
        down = await browser.ask(running.url + "/page")
        assert down.status in {502, 503}
        assert down.all("Set-Cookie") == []
        assert down.text.count("<a ") + down.text.count("<form") <= 1
        ready = await browser.ask(running.admin + "/readyz", headers={})
        assert (ready.status, json.loads(ready.body)["missing"]) == (503, ["provider metadata"])
        assert (await browser.ask(running.url + "/public/x")).status == 200

        with mock_provider(provider_port) as provider:
            async with asyncio.timeout(60):
                while (await browser.ask(running.url + "/page")).status != 303:
                    await asyncio.sleep(0.1)
            answer = await provider.sign_in(browser, running.url + "/page", "alice")
            assert answer.status == 200


async def test_an_unreachable_store_lets_nobody_in_and_public_pages_stay(tmp_path: Path) -> None:
    with mock_provider() as provider:
        async with (
            mirror_app() as app,
            gateway(
                tmp_path,
                issuer=provider.issuer,
                client_id="gateway",
                client_secret="a client secret that is long",
                store=f"redis://127.0.0.1:{free_port()}/0",
                upstream=app.url,
            ) as running,
            UserAgent(running.url) as browser,
        ):
            presented = FETCH | {"Cookie": "gateway=" + "A" * 151}
            assert (await browser.ask(running.url + "/private", headers=presented)).status in {401, 503}
            assert (await browser.ask(running.url + "/public/x")).status == 200
            # A login is refused at the claim, with the code unspent, and its page offers to try again.
            page = await browser.open(running.url + "/page")
            answer = await browser.open(page.url, method="POST", data={"sub": "alice"})
            assert answer.status == 503
            assert app.requests == [("GET", "/public/x")]


async def test_a_new_key_signs_nobody_out_and_seals_from_then_on(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    first = new_key_file(keys, "first")
    with mock_provider() as provider:
        async with (
            mirror_app() as app,
            gateway(
                tmp_path,
                issuer=provider.issuer,
                client_id="gateway",
                client_secret="a client secret that is long",
                store="memory",
                upstream=app.url,
                key_files=[first],
            ) as running,
            UserAgent(running.url) as browser,
            UserAgent(running.url) as later,
        ):
            await provider.sign_in(browser, running.url + "/", "alice")
            second = new_key_file(keys, "second")
            text = running.config.read_text()
            running.config.write_text(text.replace(f"  - file: {first}", f"  - file: {second}\n  - file: {first}"))
            running.hang_up()
            await _logged(running, "secrets.reloaded")
            assert (await browser.ask(running.url + "/", headers=FETCH)).status == 200
            await _logged(running, "session_key.seals")
            await provider.sign_in(later, running.url + "/", "bob")

            running.config.write_text(text.replace(f"  - file: {first}", f"  - file: {second}"))
            running.hang_up()
            await _logged(running, "secrets.reloaded", times=2)
            assert (await browser.ask(running.url + "/", headers=FETCH)).status == 401
            assert (await later.ask(running.url + "/", headers=FETCH)).status == 200

            running.config.write_text("session: broken\n")
            running.hang_up()
            await _logged(running, "secrets.kept")
            assert (await later.ask(running.url + "/", headers=FETCH)).status == 200


async def _logged(running: GatewayProcess, event: str, *, times: int = 1) -> None:
    async with asyncio.timeout(20):
        while running.log.count(event) < times:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_broken_file_is_refused_with_2_and_every_fault(tmp_path: Path, command: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("servr: {}\nroutes: []\n")

    done = subprocess.run(
        [sys.executable, "-m", "gateway", command, "--config", str(path)], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 2
    assert f"{path}:1:1 servr" in done.stdout + done.stderr
    assert "did you mean" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
