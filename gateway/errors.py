"""Every failure of the gateway is one leaf of this tree: who is to blame, which status, which stable code, what people may read.

Answers the threat of two answers to one failure, and of a detail that reaches a stranger: ``public`` and ``way_on`` are constants,
``detail`` goes to the log alone and never holds a token, code, verifier, secret or cookie value.

::

    GatewayError
    ├── RequestRefused            the caller sent what we do not accept                   4xx
    │   ├── TargetRefused         request-target not canonical, or read in two ways       400  target_refused
    │   │   └── TargetTooLong     longer than any address that people use                 414  target_too_long
    │   ├── HeadersRefused        a header that could be read in two ways                 400  headers_refused
    │   ├── HeadersTooLarge       more header bytes than anybody needs                    431  headers_too_large
    │   ├── RequestTooLarge       more bytes than this endpoint takes                     413  request_too_large
    │   ├── RequestTimeout        a head or a body that stopped coming                    408  request_timeout
    │   ├── ExpectationRefused    an Expect other than 100-continue                       417  expectation_refused
    │   ├── HostUnknown           a Host that is none of ours                             421  host_unknown
    │   ├── RouteMissing          no route takes this path                                404  route_missing
    │   ├── VersionRefused        HTTP 0.9, 2.0 or another that we do not speak here      505  version_refused
    │   ├── MethodRefused         CONNECT, TRACE, or a method this endpoint has not       405  method_refused
    │   ├── TooManyOpen           more open at once than one session needs                429  too_many_open
    │   ├── CrossSiteRefused      a change asked for by another site                      403  cross_site_refused
    │   └── ForwardAuthRefused    an original request not told once, by a trusted proxy   400  forward_auth_refused
    ├── LoginRefused              this sign-in ends here; no session, state used up       4xx
    │   ├── CallbackRefused       not the answer to a login of this browser               400  callback_refused
    │   ├── LoginExpired          the login cookie is gone, too old or not ours           400  login_expired
    │   ├── LoginDenied           the provider said access_denied                         403  login_denied
    │   ├── ProviderRefused       the provider answered with any other error              502  provider_refused
    │   ├── CodeRefused           invalid_grant: the code was not accepted                400  code_refused
    │   ├── GrantRefused          invalid_grant: the refresh token was not accepted       401  grant_refused
    │   └── IdTokenRefused        the id_token did not pass (OIDC Core 3.1.3.7)           502  id_token_refused
    ├── ProviderFailed            the back channel did not give a usable answer           502  provider_failed
    │   ├── ProviderTimeout       no answer in time                                       504  provider_timeout
    │   ├── ProviderUnavailable   no metadata or keys yet; try again                      503  provider_unavailable
    │   └── RefreshUnavailable    tokens have expired and cannot be renewed now           503  refresh_unavailable
    ├── StoreUnavailable          Redis is down: nobody is signed out                     503  store_unavailable
    │   ├── LoginUnavailable      a sign-in cannot be finished now; its code is unspent   503  login_unavailable
    │   └── LoginInterrupted      the code was spent, the session could not be kept       503  login_interrupted
    ├── UpstreamFailed            the app did not answer, or not in HTTP                  502  upstream_failed
    │   ├── UpstreamTimeout       the app did not answer in time                          504  upstream_timeout
    │   └── UpstreamBusy          all connections to the app are in use; try again        503  upstream_busy
    ├── GatewayFailed             a fault of ours; nothing went on from it                500  gateway_failed
    └── ConfigRefused             the operator's file is not accepted (exit code 2)       500  config_refused
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class Blame(Enum):
    """Whose fault a failure is: it decides the log level, never the answer."""

    CALLER = "caller"
    PROVIDER = "provider"
    STORE = "store"
    UPSTREAM = "upstream"
    OPERATOR = "operator"
    GATEWAY = "gateway"


class WayOn(Enum):
    """The one thing that a person can do next; the page shows it as a button."""

    NONE = "none"
    HOME = "home"
    SIGN_IN = "sign_in"
    RETRY = "retry"


class GatewayError(Exception):
    """The root. ``detail`` is for the log: names and reasons, never a value that a caller or provider sent in confidence."""

    blame: ClassVar[Blame]
    status: ClassVar[int]
    code: ClassVar[str]
    public: ClassVar[str]
    way_on: ClassVar[WayOn] = WayOn.NONE
    retry_after: int | None = None
    """Seconds, for the Retry-After header; who knows better sets it on the failure."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class RequestRefused(GatewayError):
    """The caller sent what we do not accept; nothing went upstream."""

    blame = Blame.CALLER
    status = 400
    code = "request_refused"
    public = "This request cannot be understood, so it went no further."
    way_on = WayOn.HOME


class TargetRefused(RequestRefused):
    """The request-target is not canonical, or two servers could read two paths in it."""

    code = "target_refused"
    public = "This address has a form that can be read in more than one way, so it was not opened."


class TargetTooLong(TargetRefused):
    """A request-target longer than any address that people use (RFC 9110 section 15.5.15)."""

    status = 414
    code = "target_too_long"
    public = "This address is longer than any that is accepted here."


class HeadersRefused(RequestRefused):
    """A header that is malformed, doubled or could be read in two ways."""

    code = "headers_refused"
    public = "This request carries headers that can be read in more than one way, so it went no further."


class HeadersTooLarge(RequestRefused):
    """More header or cookie bytes than anybody needs (RFC 6585 section 5)."""

    status = 431
    code = "headers_too_large"
    public = "Your browser sent more than this address accepts, usually too many cookies. Delete the cookies of this site and try again."
    way_on = WayOn.RETRY


class RequestTimeout(RequestRefused):
    """A head or a body that stopped coming (RFC 9110 section 15.5.9)."""

    status = 408
    code = "request_timeout"
    public = "This request did not arrive in time."


class ExpectationRefused(RequestRefused):
    """An Expect header other than 100-continue (RFC 9110 section 10.1.1)."""

    status = 417
    code = "expectation_refused"
    public = "This request expects something that this address does not do."


class RequestTooLarge(RequestRefused):
    """More bytes than this endpoint of ours takes."""

    status = 413
    code = "request_too_large"
    public = "This request is larger than this address accepts."


class HostUnknown(RequestRefused):
    """The Host is none of ours (RFC 9110 section 15.5.20)."""

    status = 421
    code = "host_unknown"
    public = "No application lives under this name."
    way_on = WayOn.NONE


class RouteMissing(RequestRefused):
    """No route takes this path: deny by default."""

    status = 404
    code = "route_missing"
    public = "There is nothing at this address."


class VersionRefused(RequestRefused):
    """An HTTP version in the request line that is neither 1.0 nor 1.1 (RFC 9110 section 15.6.6)."""

    status = 505
    code = "version_refused"
    public = "This address speaks HTTP/1.1 and HTTP/1.0 only."
    way_on = WayOn.NONE


class MethodRefused(RequestRefused):
    """CONNECT, TRACE, or a method that this endpoint does not have."""

    status = 405
    code = "method_refused"
    public = "This address does not accept this kind of request."

    def __init__(self, detail: str, *, allow: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.allow = allow


class TooManyOpen(RequestRefused):
    """One session holds more connections open than anybody needs (RFC 6585 section 4)."""

    status = 429
    code = "too_many_open"
    public = "Too much is open in your name at once. Close some tabs and try again."
    way_on = WayOn.RETRY
    retry_after = 5


class CrossSiteRefused(RequestRefused):
    """Another site asked for a change in this person's name."""

    status = 403
    code = "cross_site_refused"
    public = "This request came from another site, so nothing was changed."


class ForwardAuthRefused(RequestRefused):
    """The original request was not told once, completely, by a trusted proxy."""

    code = "forward_auth_refused"
    public = "The proxy did not say which request to decide on."
    way_on = WayOn.NONE


class LoginRefused(GatewayError):
    """This sign-in ends here: no session, and its state is used up."""

    blame = Blame.CALLER
    status = 400
    code = "login_refused"
    public = "The sign-in could not be completed."
    way_on = WayOn.SIGN_IN


class CallbackRefused(LoginRefused):
    """Not the answer to a login that this browser began (RFC 6749 section 10.12, RFC 9207)."""

    code = "callback_refused"
    public = "This sign-in does not belong to this browser, or it was changed on the way. Nobody was signed in."


class LoginExpired(LoginRefused):
    """The login cookie is gone, too old, or sealed under a key that is no longer ours.

    ``return_to`` is where the person was going (a checked target), None where no cookie of ours told.
    """

    code = "login_expired"
    public = "This sign-in took too long or was already used. Please sign in once more."

    def __init__(self, detail: str, *, return_to: str | None = None) -> None:
        super().__init__(detail)
        self.return_to = return_to


class LoginDenied(LoginRefused):
    """The provider answered access_denied: the person or the provider said no."""

    status = 403
    code = "login_denied"
    public = "The sign-in was cancelled or not allowed by your sign-in provider."


class ProviderRefused(LoginRefused):
    """The provider answered the authorization request with an error other than access_denied."""

    blame = Blame.PROVIDER
    status = 502
    code = "provider_refused"
    public = "Your sign-in provider could not complete the sign-in."


class CodeRefused(LoginRefused):
    """The token endpoint answered invalid_grant (RFC 6749 section 5.2)."""

    code = "code_refused"
    public = "Your sign-in provider no longer accepts this sign-in. Please sign in once more."


class GrantRefused(LoginRefused):
    """The token endpoint answered invalid_grant to a refresh token (RFC 6749 section 5.2): the provider has ended this sign-in."""

    status = 401
    code = "grant_refused"
    public = "Your sign-in has ended at your sign-in provider. Please sign in once more."


class IdTokenRefused(LoginRefused):
    """The id_token did not pass OpenID Connect Core section 3.1.3.7."""

    blame = Blame.PROVIDER
    status = 502
    code = "id_token_refused"
    public = "Your sign-in provider sent an answer that could not be verified. Nobody was signed in."


class ProviderFailed(GatewayError):
    """The back channel did not give a usable answer."""

    blame = Blame.PROVIDER
    status = 502
    code = "provider_failed"
    public = "Your sign-in provider is not answering as it should. Please try again in a moment."
    way_on = WayOn.SIGN_IN


class ProviderTimeout(ProviderFailed):
    """No answer within the connect or the total timeout."""

    status = 504
    code = "provider_timeout"
    public = "Your sign-in provider is taking too long to answer. Please try again in a moment."


class ProviderUnavailable(ProviderFailed):
    """No metadata or keys could be had yet; nothing is wrong with the caller."""

    status = 503
    code = "provider_unavailable"
    public = "Your sign-in provider cannot be reached at the moment. Please try again shortly."
    retry_after = 5
    asked_wait: float = 0.0  # seconds that the provider wants to be left alone for; 0 when it did not say


class RefreshUnavailable(ProviderFailed):
    """What a request needs has expired, and cannot be renewed at this moment: nobody is signed out."""

    status = 503
    code = "refresh_unavailable"
    public = "Your sign-in has to be renewed, and that is not possible at the moment. You are still signed in; please try again shortly."
    way_on = WayOn.RETRY
    retry_after = 5


class StoreUnavailable(GatewayError):
    """The session store is down: an outage is neither a sign-out nor a login."""

    blame = Blame.STORE
    status = 503
    code = "store_unavailable"
    public = "Sign-ins cannot be checked at the moment. You are still signed in; please try again shortly."
    way_on = WayOn.RETRY
    retry_after = 5


class LoginUnavailable(StoreUnavailable):
    """The store is down before the code is spent: the same answer can be tried again while the login lasts."""

    code = "login_unavailable"
    public = "Your sign-in cannot be finished at the moment. Please try again shortly."


class LoginInterrupted(StoreUnavailable):
    """The code was spent and the session could not be kept: nobody is signed in, and the login is used up."""

    code = "login_interrupted"
    public = "Your sign-in could not be finished, because sign-ins cannot be kept at the moment. Please sign in again shortly."
    way_on = WayOn.SIGN_IN


class UpstreamFailed(GatewayError):
    """The app refused the connection, broke it, or did not speak HTTP."""

    blame = Blame.UPSTREAM
    status = 502
    code = "upstream_failed"
    public = "The application behind this address is not answering."
    way_on = WayOn.RETRY


class UpstreamTimeout(UpstreamFailed):
    """The app did not answer in time."""

    status = 504
    code = "upstream_timeout"
    public = "The application behind this address is taking too long to answer."


class UpstreamBusy(UpstreamFailed):
    """Every connection that the app may have is in use, and so is the queue before them, or one address has its share; nothing was sent."""

    status = 503
    code = "upstream_busy"
    public = "The application behind this address has more to do than it can. Please try again in a moment."
    retry_after = 1


class GatewayFailed(GatewayError):
    """A fault of ours. Whatever raised it, the request is denied and goes no further."""

    blame = Blame.GATEWAY
    status = 500
    code = "gateway_failed"
    public = "The gateway failed, so this request went no further."
    way_on = WayOn.RETRY


class ConfigRefused(GatewayError):
    """The operator's file is not accepted; ``faults`` holds a line for each thing to mend."""

    blame = Blame.OPERATOR
    status = 500
    code = "config_refused"
    public = "The gateway is not configured."

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__(f"{len(faults)} fault(s) in the configuration")
        self.faults = faults
