"""A look at the servers of the store, before sessions depend on them: versions, rights, and what would lose sessions.

Answers RD-08 and RD-11: an eviction policy that signs people out at random is a clear warning, a right that is missing is a fault by its
name, and no line holds a password. Every command that the store sends is tried, under a key of its own that is gone afterwards.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from redis.exceptions import AskError, NoPermissionError, RedisError, ResponseError, TryAgainError

from gateway.session.store.failures import told
from gateway.session.store.redis_connections import is_primary
from gateway.session.store.redis_servers import open_servers

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.session.store.redis_address import HostPort, RedisAddress
    from gateway.session.store.scripts import Command

SECONDS: Final = 60
"""The life of what is tried, should nobody be left to delete it."""

_OF_KEYS: Final = re.compile(r"access (?:a|one of the) key")
_FOLLOWS: Final = re.compile(r"no such key|without MULTI|Transaction discarded")
"""Errors that only say that a command before failed, which is told already."""


@dataclass(slots=True)
class Seen:
    """What was found, a line each: what is so, what should be known, and what keeps the store from working."""

    facts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


async def inspect(address: RedisAddress) -> Seen:
    """Look at every server that takes writes. Nothing is raised: what cannot be reached is a fault."""
    seen = Seen()
    servers = open_servers(address)
    try:
        primaries = await servers.primaries()
    except (RedisError, OSError) as error:
        seen.faults.append(f"cannot be reached: {told(address.place, error)}")
        return seen
    finally:
        await servers.close()
    try:
        for where, client in primaries.items():
            await _look(_named(where), client, address, seen)
    finally:
        for client in primaries.values():
            await client.aclose()
    return seen


def trials(prefix: str) -> dict[str, Command]:
    """Each command that the store sends, by its name, under keys that nobody else has; in an order in which all can succeed."""
    tag = secrets.token_urlsafe(16)
    key, other, index = (f"{prefix}check:{{{tag}}}:{kind}" for kind in ("a", "b", "x"))
    milliseconds = SECONDS * 1000
    return {
        "ping": ("PING",),
        "info": ("INFO", "replication"),
        "set": ("SET", key, "1", "PX", milliseconds),
        "getrange": ("GETRANGE", key, 0, 0),
        "exists": ("EXISTS", key),
        "pttl": ("PTTL", key),
        "strlen": ("STRLEN", key),
        "type": ("TYPE", key),
        "pexpire": ("PEXPIRE", key, milliseconds),
        "eval": ("EVAL", "return 1", 1, key),
        "rename": ("RENAME", key, other),
        "zadd": ("ZADD", index, 0, "1"),
        "zscan": ("ZSCAN", index, 0),
        "zrem": ("ZREM", index, "1"),
        "zremrangebyscore": ("ZREMRANGEBYSCORE", index, "-inf", 0),
        "multi": ("MULTI",),
        "exec": ("EXEC",),
        "wait": ("WAIT", 0, 1),
        "del": ("DEL", key, other, index),
    }


async def _look(place: str, client: Redis, address: RedisAddress, seen: Seen) -> None:
    prefix = address.options.prefix
    tried = trials(prefix)
    about: dict[str, Command] = {
        "role": ("ROLE",),
        "client|tracking": ("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", f"{prefix}s:"),
        "all of info": ("INFO",),
    }
    try:
        async with client.pipeline(transaction=False) as pipe:
            for command in (*about.values(), *tried.values()):
                pipe.execute_command(*command)
            answers = await pipe.execute(raise_on_error=False)
    except ResponseError as error:
        # HELLO came with the version that tells changes.
        seen.faults.append(f"cannot be used: {told(place, error)}; it takes Redis 6.0 or later, or Valkey")
        return
    except Exception as error:  # noqa: BLE001 - whatever answers here may be no Redis at all
        seen.faults.append(f"cannot be reached: {told(place, error)}")
        return
    by_name = dict(zip((*about, *tried), answers, strict=True))
    info = by_name.pop("all of info")
    _judge_server(place, info, by_name["role"], seen, tls=address.tls)
    _judge_rights(place, by_name, prefix, seen)


def _judge_server(place: str, info: object, role: object, seen: Seen, *, tls: bool) -> None:
    if isinstance(role, list) and not is_primary(role):
        seen.faults.append(f"{place} is a replica, which takes no writes; name the primary, or Sentinel")
    if not isinstance(info, Mapping):
        seen.warnings.append(f"{place} does not say what it is (INFO): its version and what it does when it is full cannot be seen")
        return
    product, version = ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info.get("redis_version", "?"))
    policy, replicas = str(info.get("maxmemory_policy", "?")), info.get("connected_slaves", "?")
    how = "TLS" if tls else "no TLS"
    seen.facts.append(f"{place}: {product} {version}, {how}, replicas: {replicas}, when full: {policy}")
    if policy.startswith(("allkeys-", "volatile-")):
        limit = "" if info.get("maxmemory") else " (as soon as it has a maxmemory)"
        seen.warnings.append(
            f"{place} drops keys when it is full{limit}, and so signs people out at random (maxmemory-policy {policy}): "
            "set maxmemory-policy noeviction, or give sessions a server of their own"
        )


def _judge_rights(place: str, answers: Mapping[str, object], prefix: str, seen: Seen) -> None:
    missing: list[str] = []
    keys: list[str] = []
    failed: dict[str, str] = {}
    for name, answer in answers.items():
        if isinstance(answer, NoPermissionError):
            (keys if _OF_KEYS.search(str(answer)) else missing).append(name)
        elif isinstance(answer, Exception) and not isinstance(answer, AskError | TryAgainError) and not _FOLLOWS.search(str(answer)):
            failed.setdefault(told(place, answer), name)
    if missing:
        seen.faults.append(f"{place} does not let us send: {', '.join(missing)}; see deploy/redis/users.acl")
    if keys:
        seen.faults.append(f"{place} does not let us use keys that begin with {prefix} ({', '.join(keys)}); see deploy/redis/users.acl")
    seen.faults.extend(f"{what}, in answer to {name}" for what, name in failed.items())
    if not (missing or keys or failed):
        seen.facts.append(f"{place}: every command that sessions take is allowed")


def _named(where: HostPort | str) -> str:
    return where if isinstance(where, str) else f"{where[0]}:{where[1]}"
