"""What may be told of a store's failure.

Answers RD-11 and invariant 11: where and what, by the error's class and Redis's own code word alone; texts of the library could quote a
command, a value or an address with its password.
"""

from __future__ import annotations

import re
from typing import Final

# Redis's code word opens its text; redis-py puts words of its own before it when a command in a transaction is refused, and Redis before 7
# does so when it refuses what a script asks for.
_ERROR_CODE: Final = re.compile(r"(?:^|of pipeline caused error: \('|@user_script: ?[0-9]+: -?)([A-Z]{2,16}) ")


def told(place: str, error: Exception) -> str:
    """Where and what. ``place`` is ``RedisAddress.place``."""
    code = _ERROR_CODE.search(str(error))
    return f"{place}: {type(error).__name__}{f' ({code[1]})' if code else ''}"
