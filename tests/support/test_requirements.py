"""The rule by which test groups are skipped or must run."""

from __future__ import annotations

import pytest

from tests.support.requirements import VARIABLE, need


@pytest.mark.parametrize(
    ("promised", "outcome"),
    [
        pytest.param("", pytest.skip.Exception, id="nothing was promised"),
        pytest.param("nginx", pytest.skip.Exception, id="another group was promised"),
        pytest.param("nginx, browser", pytest.fail.Exception, id="this group was promised"),
    ],
)
def test_a_missing_part_skips_unless_its_group_was_promised(monkeypatch, promised, outcome):
    monkeypatch.setenv(VARIABLE, promised)
    need("browser", found=True, what="Chromium")
    with pytest.raises(outcome, match="the browser tests need Chromium"):
        need("browser", found=False, what="Chromium")
