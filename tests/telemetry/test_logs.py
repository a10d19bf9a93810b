"""The second wall against secrets in logs, and one JSON line an event."""

from __future__ import annotations

import io
import json
import logging

import pytest

from gateway.telemetry import logs


def line_of(**fields: object) -> dict[str, object]:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logs.get("room").info("thing.happened", **fields)
    (line,) = stream.getvalue().splitlines()
    return json.loads(line)


def test_an_event_is_one_json_line_with_room_time_and_level() -> None:
    line = line_of(status=400, detail="two\nlines")

    assert (line["event"], line["room"], line["level"], line["status"]) == ("thing.happened", "room", "info", 400)
    assert line["detail"] == "two\nlines"
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    "name", ["code", "access_token", "id_token_hint", "client_secret", "cookie", "code_verifier", "nonce", "state", "Authorization"]
)
def test_a_field_named_after_a_secret_is_hidden_whatever_it_holds(name: str) -> None:
    assert line_of(**{name: "a-value-of-some-length"})[name] == "[hidden]"


def test_an_error_code_is_no_secret() -> None:
    assert line_of(error="callback_refused", status=400)["error"] == "callback_refused"


def test_what_a_library_logs_comes_without_what_it_would_fill_in() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    fault = ValueError("quoted: a-cookie-value-of-some-length")
    logging.getLogger("aiohttp.server").error("Error of a-cookie-value-of-some-length", exc_info=fault)

    (line,) = stream.getvalue().splitlines()

    assert (json.loads(line)["room"], json.loads(line)["fault"]) == ("aiohttp.server", "ValueError")
    assert "a-cookie-value" not in line
