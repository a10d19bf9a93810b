"""The demo's OpenID provider: two people to sign in as, one registered client, nothing else.

The protocol is ``oidc-provider-mock``'s. It is made for tests and lets anybody be anybody, so this module narrows it: only the people of
the demo, only the gateway's redirect URIs, a client secret that is checked, and pages of our own by the library's ``init_app``.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

import flask
import werkzeug.serving
from typing_extensions import override

with warnings.catch_warnings(record=True):
    # The library imports parts of authlib that authlib means to move, and authlib forces that warning on everybody's terminal.
    import oidc_provider_mock  # type: ignore[import-untyped]  # typed inside, but it ships no py.typed

from gateway.demo.people import PEOPLE
from gateway.demo.policy import page_headers

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from flask.typing import ResponseReturnValue

_ENDPOINTS: Final = frozenset(
    f"oidc-provider-mock.{name}"
    for name in ("home", "openid_config", "jwks", "authorize", "issue_token", "userinfo", "end_session", "end_session_confirm")
)
_SETUP: Final = "gateway.demo.setup"
"""A WSGI environment key that marks our own registration of the client; no HTTP request can set one."""


@dataclass(frozen=True, slots=True)
class DemoProvider:
    """What the gateway has to know of the running provider."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)


@contextmanager
def running_provider(listener: socket.socket, *, origins: Sequence[str]) -> Iterator[DemoProvider]:
    """Serve the provider on ``listener`` (bound to 127.0.0.1, and closed at the end) from a thread of its own.

    ``origins`` are the gateway's, such as ``http://127.0.0.1:8080``: their redirect URIs are the only ones that it accepts.
    """
    host, port = listener.getsockname()
    application = provider_app(origins)
    registration = application.test_client().post(
        "/oauth2/clients",
        json={"redirect_uris": [f"{origin}/oauth2/callback" for origin in origins], "token_endpoint_auth_method": "client_secret_basic"},
        environ_overrides={_SETUP: True},
    )
    client = registration.get_json()
    server = werkzeug.serving.make_server(host, port, application, threaded=True, request_handler=_QuietHandler, fd=listener.fileno())
    listener.close()  # werkzeug serves a duplicate of it
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="demo-provider", daemon=True)
    thread.start()
    try:
        yield DemoProvider(issuer=f"http://{host}:{port}", client_id=client["client_id"], client_secret=client["client_secret"])
    finally:
        server.shutdown()
        thread.join()


def provider_app(origins: Sequence[str]) -> flask.Flask:
    """The provider as a WSGI application for the gateway at ``origins``."""
    application = flask.Flask("gateway.demo", template_folder="templates/provider", static_folder=None)
    oidc_provider_mock.init_app(
        application,
        require_client_registration=True,
        require_nonce=True,
        user_claims=[oidc_provider_mock.User(sub=person.subject, claims=person.claims()) for person in PEOPLE],
    )
    application.debug = False
    del application.wsgi_app  # the library's wrapper: a debugger that shows source code on failure
    application.jinja_env.globals.update(people=PEOPLE, gateway=origins[0])
    headers = page_headers(style=application.jinja_env.get_template("provider.css").render())
    subjects = frozenset(person.subject for person in PEOPLE)

    @application.before_request
    def narrow() -> ResponseReturnValue | None:
        request = flask.request
        if request.environ.get(_SETUP):
            return None
        if request.endpoint not in _ENDPOINTS:
            flask.abort(404)
        if request.endpoint == "oidc-provider-mock.authorize" and request.method == "POST":
            return _answer_choice(origins, subjects)
        if request.endpoint in {"oidc-provider-mock.end_session", "oidc-provider-mock.end_session_confirm"}:
            back = request.values.get("post_logout_redirect_uri") or request.values.get("redirect_uri")
            if back is not None and not _is_ours(back, origins, "/oauth2/signed_out"):
                flask.abort(400)
        return None

    @application.after_request
    def guard(response: flask.Response) -> flask.Response:
        if response.mimetype == "text/html":
            response.headers.update(headers)
        return response

    return application


def _answer_choice(origins: Sequence[str], subjects: frozenset[str]) -> ResponseReturnValue | None:
    """Refuse people who are not of the demo; answer "cancel" here, since the library forgets ``state`` there (RFC 6749 section 4.1.2.1)."""
    if flask.request.form.get("action") == "deny":
        back = flask.request.args.get("redirect_uri", "")
        if not _is_ours(back, origins, "/oauth2/callback"):
            flask.abort(400)
        answer = {"error": "access_denied", "state": flask.request.args.get("state", "")}
        return flask.redirect(f"{back}?{urlencode(answer)}")
    if flask.request.form.get("sub") not in subjects:
        flask.abort(400)
    return None


def _is_ours(address: str, origins: Sequence[str], path: str) -> bool:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}" in origins and parts.path == path


class _QuietHandler(werkzeug.serving.WSGIRequestHandler):
    """Logs no request: their targets carry ``state``, ``nonce`` and ``id_token_hint``."""

    @override
    def log(self, type: str, message: str, *args: object) -> None:
        """Drop the line."""
