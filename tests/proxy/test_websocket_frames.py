"""Boundaries between frames are the same however the bytes were cut, and a close frame put at one leaves a stream of whole frames."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.websocket_frames import GOING_AWAY, SESSION_ENDED, Ending, FrameFollower, close_frame

OPCODES = [0x0, 0x1, 0x2, 0x8, 0x9, 0xA]


@dataclass(frozen=True)
class Frame:
    """A frame as RFC 6455 section 5.2 writes it; ``wide`` in a longer form of the length than is needed."""

    opcode: int
    payload: bytes
    final: bool = True
    rsv: int = 0
    masked: bool = False
    wide: int = 0

    @property
    def raw(self) -> bytes:
        size = len(self.payload)
        mask = 0x80 if self.masked else 0
        if size > 0xFFFF or self.wide == 2:
            length = bytes((mask | 127,)) + size.to_bytes(8, "big")
        elif size > 125 or self.wide == 1:
            length = bytes((mask | 126,)) + size.to_bytes(2, "big")
        else:
            length = bytes((mask | size,))
        return bytes((self.final << 7 | self.rsv << 4 | self.opcode,)) + length + (b"mask" if self.masked else b"") + self.payload


def read(stream: bytes) -> list[tuple[int, bytes]]:
    """A reader of its own: opcode and payload of every frame; fails on a stream that does not end with one."""
    found = []
    while stream:
        opcode, second, stream = stream[0] & 15, stream[1], stream[2:]
        size = second & 127
        if size > 125:
            width = 2 if size == 126 else 8
            size, stream = int.from_bytes(stream[:width], "big"), stream[width:]
        if second & 128:
            stream = stream[4:]
        assert len(stream) >= size, "a frame is cut"
        found.append((opcode, stream[:size]))
        stream = stream[size:]
    return found


frames = st.lists(
    st.builds(
        Frame,
        opcode=st.sampled_from(OPCODES),
        payload=st.one_of(st.binary(max_size=6), st.sampled_from([0, 1, 125, 126, 127, 65535, 65536]).map(bytes)),
        final=st.booleans(),
        rsv=st.integers(0, 7),
        masked=st.booleans(),
        wide=st.integers(0, 2),
    ),
    max_size=8,
)
EVERY_BYTE = 400


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Frame], list[bytes]]:
    """Frames, and their bytes in pieces; short streams often in single bytes."""
    sent = draw(frames)
    raw = b"".join(frame.raw for frame in sent)
    if len(raw) <= EVERY_BYTE and draw(st.booleans()):
        return sent, [bytes((byte,)) for byte in raw]
    near = [edge + step for edge in edges(sent) for step in range(-3, 12) if 0 <= edge + step <= len(raw)]
    cuts = sorted(draw(st.lists(st.one_of(st.integers(0, len(raw)), st.sampled_from(near or [0])), max_size=12)))
    return sent, [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


def edges(sent: list[Frame]) -> list[int]:
    found = [0]
    for frame in sent:
        found.append(found[-1] + len(frame.raw))
    return found


@given(streams())
@settings(deadline=None)
def test_boundaries_do_not_depend_on_how_the_bytes_were_cut(stream):
    sent, pieces = stream
    follower, position = FrameFollower(), 0
    assert follower.at_boundary
    for piece in pieces:
        follower.follow(piece)
        position += len(piece)
        assert follower.at_boundary == (position in edges(sent))
        begun = [frame for frame, edge in zip(sent, edges(sent), strict=False) if edge < position]
        assert follower.closing == any(frame.opcode == 8 for frame in begun)


@given(streams(), st.data())
@settings(deadline=None)
def test_a_close_frame_put_at_the_next_boundary_leaves_whole_frames(stream, data):
    sent, pieces = stream
    follower = FrameFollower()
    stop = data.draw(st.integers(0, len(pieces)))
    received = b"".join(pieces[:stop])
    for piece in pieces[:stop]:
        follower.follow(piece)
    waiting = iter(pieces[stop:])
    while not follower.at_boundary:
        piece = next(waiting)
        rest = follower.finish(piece)
        received += piece if rest is None else piece[:rest]
        assert (rest is not None) == follower.at_boundary
    assert len(received) in edges(sent)
    told = read(received + close_frame(SESSION_ENDED))
    whole = edges(sent).index(len(received))
    assert told == [*((frame.opcode, frame.payload) for frame in sent[:whole]), (8, b"\x03\xf0session ended")]


def test_a_length_beyond_all_reason_never_ends():
    follower = FrameFollower()
    follower.follow(b"\x82\x7f" + b"\xff" * 8)
    follower.follow(bytes(100_000))
    assert not follower.at_boundary
    assert follower.finish(bytes(100_000)) is None


@pytest.mark.parametrize(
    ("ending", "raw"),
    [
        pytest.param(SESSION_ENDED, b"\x88\x0f\x03\xf0session ended", id="policy"),
        pytest.param(GOING_AWAY, b"\x88\x0c\x03\xe9going away", id="going away"),
        pytest.param(Ending(1001, "x" * 200), b"\x88\x7d\x03\xe9" + b"x" * 123, id="a reason longer than a control frame"),
    ],
)
def test_a_close_frame_has_its_code_and_reason(ending, raw):
    assert close_frame(ending) == raw
