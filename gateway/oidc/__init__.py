"""The standards' rules of OpenID Connect and OAuth 2.0, a file a step; nothing here knows of sessions, routes or pages.

The steps of a login, in order: ``metadata`` (discovery), ``authorization_request`` (state, nonce, PKCE), ``callback`` (the answer, bound to
this browser), ``token_request`` with ``client_authentication``, ``token_response``, then ``jws`` and ``jwks`` (the signature) and
``id_token`` (the claims). Going on: ``refresh_request``, then the last four again. Signing out: ``end_session`` and ``revocation``.

These files build requests and read answers, and are pure: no clock, no randomness, no waiting. ``client`` alone sends; ``provider`` alone
waits, with ``kept`` for what it remembers and ``revoking`` for what it tries again. The types hold the order: the exchange takes a
``ValidatedCallback``, a session is born from ``VerifiedClaims`` and goes on by ``RefreshedClaims``, and nothing else makes them.
"""
