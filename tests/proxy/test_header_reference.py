"""The operators' list of headers and the code's are one list."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.proxy.headers import DENIED, DENIED_PREFIXES, fold

PAGE = Path(__file__, "../../../docs/reference/headers.md").resolve()


def test_the_default_list_is_documented_whole():
    page = PAGE.read_text(encoding="utf-8")
    section = page[page.index("## The default list") : page.index("The list cannot be shortened")]
    names = re.findall(r"`([A-Za-z0-9-]+\*?)`", section)
    assert {fold(name.encode()) for name in names if not name.endswith("*")} == DENIED
    assert sorted(fold(name.encode()) for name in names if name.endswith("*")) == sorted(DENIED_PREFIXES)
