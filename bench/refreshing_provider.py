"""A provider that takes its time: ``python -m bench.refreshing_provider PORT CLIENT_ID PEOPLE SECONDS``.

Its token endpoint answers each refresh after SECONDS, with new tokens and a new id_token of a usual size. It signs nobody in: the sessions
are written to the store by the benchmark. The id_tokens are signed before it listens, so that it is idle while it waits.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final

import uvloop
from aiohttp import web

from tests.support.fake_provider import sign, signing_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ACCESS_TOKEN: Final = "a" * 900
REFRESH_TOKEN: Final = "r" * 400
LIFETIME: Final = 3600


def subject(number: int) -> str:
    """The ``sub`` of a person; a refresh token names it by its number."""
    return f"{number:08d}-5bd2-4f4e-9a53-0c3fd4a7a3f1"


def claims_of(number: int) -> dict[str, object]:
    """What the provider tells of a person, who is in ten groups."""
    return {
        "sub": subject(number),
        "email": f"person-{number}@example.org",
        "preferred_username": f"person-{number}",
        "groups": [f"group-{number}-{index}" for index in range(10)],
    }


def refresh_token(number: int, generation: int) -> str:
    """A refresh token, another in every generation."""
    return f"{number}.{generation}.{REFRESH_TOKEN}"


def answers(
    port: int, client_id: str, people: int, seconds: float
) -> dict[tuple[str, str], Callable[[web.BaseRequest], Awaitable[web.Response]]]:
    """What it answers, by method and path."""
    issuer, key, now = f"http://127.0.0.1:{port}", signing_key("RS256"), int(time.time())
    about = {"iss": issuer, "aud": client_id, "iat": now, "exp": now + LIFETIME}
    signed = [sign(about | claims_of(number), key, "RS256", {"kid": key.kid}) for number in range(people)]
    metadata = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }

    async def discovery(_request: web.BaseRequest) -> web.Response:
        return web.json_response(metadata)

    async def jwks(_request: web.BaseRequest) -> web.Response:
        return web.json_response({"keys": [key.as_dict(private=False)]})

    async def token(request: web.BaseRequest) -> web.Response:
        form = await request.post()
        number, generation, _ = str(form["refresh_token"]).split(".")
        await asyncio.sleep(seconds)
        return web.json_response(
            {
                "access_token": ACCESS_TOKEN,
                "token_type": "Bearer",
                "expires_in": LIFETIME,
                "refresh_token": refresh_token(int(number), int(generation) + 1),
                "id_token": signed[int(number)],
            }
        )

    return {("GET", "/.well-known/openid-configuration"): discovery, ("GET", "/jwks"): jwks, ("POST", "/token"): token}


async def serve(port: int, client_id: str, people: int, seconds: float) -> None:
    """Answer until the process is ended."""
    known = answers(port, client_id, people, seconds)

    async def answer(request: web.BaseRequest) -> web.Response:
        found = known.get((request.method, request.path))
        return web.Response(status=404) if found is None else await found(request)

    runner = web.ServerRunner(web.Server(answer), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as running:
        running.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
