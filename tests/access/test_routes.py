"""PN: which route takes a path, and that no other spelling of the path is taken by another one."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.routes import Access, Route, Routes
from gateway.access.target import canonical_target
from gateway.errors import RouteMissing, TargetRefused

APP = "apps.example.org"
ADMIN = "admin.example.org"


def route(index, path, *hosts, access=Access.SIGNED_IN):
    return Route(index=index, path=path, hosts=frozenset(hosts) or None, access=access)


PUBLIC = route(0, "/public/", access=Access.PUBLIC)
HEALTH = route(1, "/healthz", access=Access.PUBLIC)
FILES = route(2, "/public/files/", access=Access.OPTIONAL)
REST = route(3, "/")
ROUTES = Routes([PUBLIC, HEALTH, FILES, REST])


@pytest.mark.parametrize(
    ("raw", "chosen"),
    [
        pytest.param("/", REST, id="root"),
        pytest.param("/admin", REST, id="anything else"),
        pytest.param("/public/x", PUBLIC, id="below a prefix"),
        pytest.param("/public/", PUBLIC, id="the prefix itself"),
        pytest.param("/public", REST, id="a prefix with a slash does not take its name without one"),
        pytest.param("/public/files/x", FILES, id="the longer prefix wins"),
        pytest.param("/public/filesx", PUBLIC, id="the longer prefix ends at a segment"),
        pytest.param("/healthz", HEALTH, id="a path without a slash takes itself"),
        pytest.param("/healthz/", HEALTH, id="PN-19 and what lies below it"),
        pytest.param("/healthz?x=1", HEALTH, id="PN-20 the query is no part of it"),
        pytest.param("/healthz.", REST, id="PN-19 not with a dot behind it"),
        pytest.param("/healthz%20", REST, id="PN-19 not with an encoded space behind it"),
        pytest.param("/PUBLIC/x", REST, id="PN-10 case-sensitive"),
        pytest.param("/publicity", REST, id="PN-37 segment borders"),
        pytest.param("/public-admin", REST, id="PN-37 segment borders again"),
        pytest.param("/admin?.css", REST, id="PN-17 a suffix in the query"),
        pytest.param("/admin/x.css", REST, id="PN-17 a suffix"),
        pytest.param("/admin?/public/", REST, id="a prefix in the query"),
        pytest.param("/public/%252e%252e/admin", PUBLIC, id="PN-23 encoded twice"),
        pytest.param("/public/a%20b;v=1//c", PUBLIC, id="every reading below the same prefix"),
        pytest.param("/api/private%23/status", REST, id="PN-13 encoded hash, one route in every reading"),
        pytest.param("/api/private%3f/status", REST, id="PN-16 encoded question mark"),
        pytest.param("/%2f/evil", REST, id="PN-31 encoded slash"),
    ],
)
def test_a_path_belongs_to_its_longest_route(raw, chosen):
    assert ROUTES.match(APP, canonical_target(raw)) is chosen


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("/public%2fx", id="PN-11 encoded slash reaches a public route"),
        pytest.param("/%70ublic/x", id="PN-11 encoded letter reaches a public route"),
        pytest.param("/public;x/a", id="PN-07 parameter on a public segment"),
        pytest.param("/healthz;", id="PN-19 parameter behind an exact path"),
        pytest.param("/healthz%2f", id="PN-19 encoded slash behind an exact path"),
        pytest.param("/healthz%3fx", id="encoded question mark behind an exact path"),
        pytest.param("/healthz%23x", id="encoded hash behind an exact path"),
        pytest.param("/public%5cx", id="encoded backslash reaches a public route"),
        pytest.param("/public/files%2fx", id="encoded slash reaches a longer route"),
        pytest.param("/public/files;v=1/x", id="parameter hides a longer route"),
        pytest.param("/public//files/x", id="two slashes hide a longer route"),
        pytest.param("/public/;x/files/x", id="an empty segment with a parameter hides a longer route"),
    ],
)
def test_a_path_whose_readings_belong_to_different_routes_is_refused(raw):
    with pytest.raises(TargetRefused):
        ROUTES.match(APP, canonical_target(raw))


def test_a_path_without_a_route_is_denied():
    routes = Routes([PUBLIC])
    for raw in ("/", "/admin", "/publi", "/admin%20x"):
        with pytest.raises(RouteMissing):
            routes.match(APP, canonical_target(raw))
    with pytest.raises(TargetRefused):
        routes.match(APP, canonical_target("/public%2fx"))
    with pytest.raises(RouteMissing):
        Routes([]).match(APP, canonical_target("/"))


HOST_RULES = Routes(
    [
        everywhere := route(0, "/", access=Access.PUBLIC),
        everywhere_public := route(1, "/public/", access=Access.PUBLIC),
        admin := route(2, "/", ADMIN),
        admin_files := route(3, "/public/files/", ADMIN, "other.example.org:8443"),
    ]
)


@pytest.mark.parametrize(
    ("authority", "raw", "chosen"),
    [
        pytest.param(ADMIN, "/x", admin, id="a host's own route before an equally long one for all"),
        pytest.param(APP, "/x", everywhere, id="another host has the one for all"),
        pytest.param(ADMIN, "/public/x", everywhere_public, id="a longer route for all holds for a host with its own too"),
        pytest.param(ADMIN, "/public/files/x", admin_files, id="until the host says otherwise"),
        pytest.param("other.example.org:8443", "/public/files/x", admin_files, id="a host with a port"),
        pytest.param("other.example.org", "/public/files/x", everywhere_public, id="the port is part of the host"),
    ],
)
def test_hosts(authority, raw, chosen):
    assert HOST_RULES.match(authority, canonical_target(raw)) is chosen


def test_a_route_for_one_host_takes_nothing_at_another():
    with pytest.raises(RouteMissing):
        Routes([route(0, "/", ADMIN)]).match(APP, canonical_target("/"))


@pytest.mark.parametrize(
    "path",
    ["", "x", "//", "/a//b", "/a/../b", "/.", "/a/..", "/a%20b", "/a;x", "/a?x", "/a#x", "/a b", "/a\\b", "/\u00e9", "/a*{}", "/a\n"],
)
def test_a_route_path_that_cannot_be_matched_in_one_way_is_refused(path):
    with pytest.raises(ValueError, match="must begin with /"):
        Routes([route(0, path)])


@pytest.mark.parametrize("path", ["/", "/a", "/a/", "/a/b.c/", "/.well-known/", "/~user/", "/@scope/x", "/..a"])
def test_a_plain_route_path_is_taken(path):
    assert [each.path for each in Routes([route(0, path)])] == [path]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((), (), id="both for every host"),
        pytest.param((APP,), (ADMIN, APP), id="one host in common"),
    ],
)
def test_two_routes_for_the_same_requests_are_refused(first, second):
    with pytest.raises(ValueError, match="written twice"):
        Routes([route(0, "/x", *first), route(1, "/x", *second)])


_SEGMENT = st.sampled_from(["public", "files", "healthz", "admin", "a", ""])
_ODD = st.sampled_from(
    ["/", "//", "%2f", ";x", "%3bx", "%3f", "%23", "%5c", "%70ublic", "f%69les", "health%7a", "public", "files", "healthz", "%20"]
)
_paths = st.lists(_SEGMENT, max_size=4).map("/".join) | st.lists(_ODD, max_size=8).map("".join)


def _what_servers_make_of(path):
    """Written apart from the code under test: pipelines of the steps that servers are known to take."""
    decode = lambda text: unquote_to_bytes(text).decode("latin-1")  # noqa: E731
    strip = lambda text: re.sub(r";[^/]*", "", text)  # noqa: E731
    merge = lambda text: re.sub("/+", "/", text)  # noqa: E731
    cut = lambda text: re.split(r"[?#]", text)[0]  # noqa: E731
    windows = lambda text: text.replace("\\", "/")  # noqa: E731
    pipelines = {
        "nginx": (decode, merge),
        "tomcat": (strip, decode, merge),
        "jetty": (decode, strip),
        "iis": (decode, windows, merge),
        "careless": (decode, cut, strip, merge),
        "plain": (decode,),
        "raw": (merge, strip),
    }
    for steps in pipelines.values():
        text = path
        for step in steps:
            text = step(text)
        yield text


@given(_paths)
def test_the_route_of_a_target_is_the_route_of_what_any_server_makes_of_it(path):
    try:
        chosen = ROUTES.match(APP, canonical_target(f"/{path}"))
    except TargetRefused:
        return
    for reading in _what_servers_make_of(f"/{path}"):
        takers = [each for each in ROUTES if reading == each.path or reading.startswith(each.path.rstrip("/") + "/")]
        assert max(takers, key=lambda each: len(each.path)) is chosen


def test_routes_can_be_counted():
    assert len(ROUTES) == len(list(ROUTES)) == 4
