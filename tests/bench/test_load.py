"""The load's own parts: WebSocket frames, what wrk says, which cookies a browser keeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import websocket, wrk
from bench.signing_in import deletes


def test_the_answer_to_a_handshake_is_that_of_the_specification():
    assert websocket.accept_value(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@given(st.lists(st.binary(max_size=300), max_size=5), st.sampled_from([None, b"\x01\x02\x03\x04"]), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_whatever_the_pieces(payloads, mask, size):
    sent = b"".join(websocket.frame(websocket.BINARY, payload, mask) for payload in payloads)
    frames, read = websocket.Frames(), []
    for start in range(0, len(sent), size):
        read += frames.read(sent[start : start + size])
    assert read == [(websocket.BINARY, payload) for payload in payloads]


def test_wrks_figures_are_read_in_seconds_and_milliseconds():
    printed = 'Running 3s test\n\nBENCH {"requests": 7, "bytes": 900, "microseconds": 3000000, "errors": 1, "p50": 1500, "p99": 2500}\n'
    assert wrk.parse(printed) == wrk.Ran(requests=7, received=900, seconds=3.0, errors=1, p50=1.5, p99=2.5)


def test_a_run_without_figures_counts_for_nothing():
    with pytest.raises(wrk.LoadFailed, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1\n")


@pytest.mark.parametrize(
    ("attributes", "gone"),
    [
        pytest.param([" Path=/", " HttpOnly"], False, id="a session cookie"),
        pytest.param([" Max-Age=600"], False, id="ten minutes"),
        pytest.param([" max-age=0"], True, id="no age"),
        pytest.param([" Expires=Thu, 01 Jan 1970 00:00:00 GMT"], True, id="expired long ago"),
        pytest.param([" Expires=Thu, 01 Jan 1970 00:00:00 GMT", " Max-Age=60"], False, id="max-age wins"),
        pytest.param([" Expires=soon"], False, id="a date that is none"),
    ],
)
def test_a_cookie_is_deleted_as_browsers_do(attributes, gone):
    assert deletes(attributes) is gone
