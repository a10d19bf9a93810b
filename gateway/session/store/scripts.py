"""What is decided inside the server, each in a few lines of Lua: a comparison and the write that depends on it, or a time that only grows.

Answers invariants 7 and 10. Every key of a script has the same hash tag, so a cluster can route it. The scripts are sent whole (EVAL), and
the server knows them by their hash: nothing has to be loaded first, and nothing is sent again because it was not there. A server that is
out of memory refuses a script's first write or none, so none is done by half; and what begins with a deletion is done even then, while
MULTI would be refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

Command = tuple[str | bytes | int, ...]
"""A command's words. The first key is the second word, but for EVAL, whose fourth it is."""

_REPLACE: Final = """
local most = tonumber(ARGV[4])
local length = redis.pcall('STRLEN', KEYS[1])
if type(length) ~= 'number' then return {length} end
if length == 0 or length > most then return {0} end
local tokens = redis.pcall('GETRANGE', KEYS[2], 0, most)
if type(tokens) ~= 'string' then return {tokens} end
if tokens == '' or tokens ~= ARGV[3] then return {0} end
redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
redis.call('SET', KEYS[2], ARGV[2], 'KEEPTTL')
return {1}
"""

_EXTEND: Final = """
local owner = redis.pcall('GETRANGE', KEYS[1], 0, #ARGV[1])
if type(owner) ~= 'string' then return owner end
if owner ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

_UNLOCK: Final = """
local owner = redis.pcall('GETRANGE', KEYS[1], 0, #ARGV[1])
if type(owner) ~= 'string' then return owner end
if owner ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""

_ADD: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
local foreign = kind ~= 'none' and kind ~= 'zset'
if foreign then redis.call('DEL', KEYS[1]) end
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return foreign and 1 or 0
"""

_END: Final = """
local there = redis.call('EXISTS', KEYS[1])
local tokens = redis.pcall('GETRANGE', KEYS[2], 0, ARGV[1])
local card = redis.pcall('GETRANGE', KEYS[4], 0, ARGV[2])
local kept = tonumber(ARGV[3])
if kept > 0 and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('PEXPIRE', KEYS[2], kept)
  redis.call('RENAME', KEYS[2], KEYS[6])
  tokens = ''
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return {tokens, card, there}
"""

_TAKE: Final = """
local value = redis.pcall('GETRANGE', KEYS[1], 0, ARGV[1])
redis.call('DEL', KEYS[1])
return value
"""

_PROPAGATE: Final = """
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '', 'PX', 1000)
return redis.call('DEL', KEYS[1])
"""


def replace(keys: tuple[str, str], *, record: bytes, tokens: bytes, fence: bytes, most: int) -> Command:
    """[1]: record and tokens (``keys``) were written and kept their time to live; [0]: there is no record, or the tokens are not ``fence``.

    A value of more than ``most`` bytes is none of ours.
    """
    return ("EVAL", _REPLACE, 2, *keys, record, tokens, fence, most)


def extend(key: str, *, owner: bytes, milliseconds: int) -> Command:
    """1: the lock is ``owner``'s and lives for so long from now."""
    return ("EVAL", _EXTEND, 1, key, owner, milliseconds)


def unlock(key: str, *, owner: bytes) -> Command:
    """1: the lock was ``owner``'s and is gone."""
    return ("EVAL", _UNLOCK, 1, key, owner)


def add(index: str, member: str, *, score: int, expired: int, milliseconds: int) -> Command:
    """List ``member``, drop those with scores up to ``expired``, let the index live that long at least. 1: something foreign made room."""
    return ("EVAL", _ADD, 1, index, score, member, expired, milliseconds)


def end(keys: Sequence[str], *, most: tuple[int, int], milliseconds: int) -> Command:
    """Tokens and card, up to the byte after ``most`` of each, and 1 where there was a record; all is deleted.

    ``keys`` are those of record, tokens, last seen, card, lock, and of where the tokens go for so many ``milliseconds``: then they are not
    in the answer. 0 leaves none. Of a session that has none, what an end before left keeps its time.
    """
    return ("EVAL", _END, len(keys), *keys, *most, milliseconds)


def take(key: str, *, most: int) -> Command:
    """The value, up to the byte after ``most``; it is deleted."""
    return ("EVAL", _TAKE, 1, key, most)


def propagate(key: str) -> Command:
    """A write that replicas are told of whatever is there, and that leaves nothing.

    ``WAIT`` counts for the writes of its own connection. A deletion that finds nothing is none in newer servers, so that whoever repeats
    one that no replica had acknowledged would be told that it is acknowledged. (DEL comes first: a script's first write alone is refused
    for lack of memory.)
    """
    return ("EVAL", _PROPAGATE, 1, key)
