"""The path that an app sees is the decided path, less or more a prefix, and canonical again: invariant 2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.rewriting import rewritten
from gateway.access.routes import Access, Route
from gateway.access.target import canonical_target
from gateway.errors import TargetRefused


def route(path, *, strip=True, add=""):
    return Route(index=0, path=path, hosts=None, access=Access.PUBLIC, strip_prefix=strip, add_prefix=add)


@pytest.mark.parametrize(
    ("path", "strip", "add", "asked", "sent"),
    [
        pytest.param("/api/", True, "", "/api/x?y=1", "/x?y=1", id="without the route's path"),
        pytest.param("/api", True, "", "/api/x", "/x", id="a path without a slash at its end"),
        pytest.param("/api", True, "", "/api", "/", id="the path itself"),
        pytest.param("/api", True, "", "/api?a=/b", "/?a=/b", id="the path itself with a query"),
        pytest.param("/api/", True, "", "/api/", "/", id="the path itself with a slash"),
        pytest.param("/api/", True, "/v2", "/api/x", "/v2/x", id="another prefix"),
        pytest.param("/api", True, "/v2", "/api", "/v2/", id="another prefix of the path itself"),
        pytest.param("/api/", False, "/v2", "/api/x?y", "/v2/api/x?y", id="a prefix before it"),
        pytest.param("/", True, "", "/x", "/x", id="nothing to take off"),
        pytest.param("/api/", True, "", "/api/%41%2f?q=%2e", "/%41%2f?q=%2e", id="escapes stay"),
    ],
)
def test_rewriting(path, strip, add, asked, sent):
    assert rewritten(canonical_target(asked), route(path, strip=strip, add=add)).raw == sent


@pytest.mark.parametrize(
    "asked", [pytest.param("/api//evil.example/x", id="an authority"), pytest.param("/api//", id="an empty segment in front")]
)
def test_what_would_not_be_canonical_is_refused(asked):
    with pytest.raises(TargetRefused):
        rewritten(canonical_target(asked), route("/api/"))


@given(st.text(alphabet="ab/%2eE.;?", max_size=20), st.booleans(), st.sampled_from(["", "/v2"]))
def test_whatever_comes_out_is_canonical_and_ends_as_it_did(rest, strip, add):
    try:
        asked = canonical_target("/api/" + rest)
        sent = rewritten(asked, route("/api/", strip=strip, add=add))
    except TargetRefused:
        return
    assert canonical_target(sent.raw).raw == sent.raw
    assert sent.raw == add + (asked.raw.removeprefix("/api") if strip else asked.raw)
