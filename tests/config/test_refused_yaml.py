"""What YAML could do to a reader is refused, with the place and the remedy.

Each row: what is written otherwise in the valid configuration, and exactly what its operator reads.
"""

from __future__ import annotations

import pytest

from tests.support.config_files import ACCESS, ADMIN, ADMIN_LISTEN, KEYS, LISTEN, ROOT_PATH, VALID, damaged, faults_of, write_secret_files

DUPLICATE = "this key stands here twice, first in line 2; keep one"
TAG = "tags such as !!str or !!python/object are not accepted; write a plain value"
KEY_IS_TEXT = "a key has to be text; put it in quotes if it is meant"

YAML = [
    pytest.param({LISTEN: LISTEN + "  listen: 127.0.0.1:1\n"}, {"3:3 server.listen": DUPLICATE}, id="a key twice"),
    pytest.param(
        {ADMIN: "admin:\n  listen: none\n" + ADMIN},
        {"6:1 admin": "this key stands here twice, first in line 4; keep one"},
        id="a section twice",
    ),
    pytest.param({LISTEN: LISTEN + '  "listen": 127.0.0.1:1\n'}, {"3:3 server.listen": DUPLICATE}, id="a key twice, once quoted"),
    pytest.param(
        {LISTEN: "  listen: &here 127.0.0.1:8080\n"},
        {"2:11 server.listen": "anchors are not accepted; write the value out where it is needed"},
        id="an anchor",
    ),
    pytest.param({LISTEN: "  listen: *here\n"}, {"2:11 server.listen": "aliases are not accepted; write the value out"}, id="an alias"),
    pytest.param(
        {ACCESS: "    access: &a signed_in\n    host: *a\n"},
        {
            "20:13 routes[1].access": "anchors are not accepted; write the value out where it is needed",
            "21:11 routes[1].host": "aliases are not accepted; write the value out",
        },
        id="an anchor and its alias",
    ),
    pytest.param(
        {ADMIN_LISTEN: "  <<: {listen: none}\n"}, {"5:3 admin": "merge keys are not accepted; write the values out"}, id="a merge key"
    ),
    pytest.param({LISTEN: "  listen: !!python/object/apply:os.system [id]\n"}, {"2:11 server.listen": TAG}, id="a Python tag"),
    pytest.param({LISTEN: "  listen: !!str 127.0.0.1:8080\n"}, {"2:11 server.listen": TAG}, id="a string tag"),
    pytest.param({ADMIN_LISTEN: "  9090: yes\n"}, {"5:3 admin": KEY_IS_TEXT}, id="a number as key"),
    pytest.param({ADMIN_LISTEN: "  [a, b]: yes\n"}, {"5:3 admin": KEY_IS_TEXT}, id="a list as key"),
    pytest.param({ADMIN_LISTEN: "  true: yes\n"}, {"5:3 admin": KEY_IS_TEXT}, id="a boolean as key"),
    pytest.param(
        {ADMIN_LISTEN: "  : yes\n"},
        {"5:3": ("not valid YAML: expected <block end>, but found ':'; mend the syntax here or just above")},
        id="an empty key",
    ),
    pytest.param(
        {LISTEN: "\tlisten: 127.0.0.1:8080\n"},
        {"2:1": ("not valid YAML: found character '\\t' that cannot start any token; mend the syntax here or just above")},
        id="a TAB for indentation",
    ),
    pytest.param(
        {KEYS: "  keys: [{env: SESSION_KEY}\n"},
        {"14:1": ("not valid YAML: expected ',' or ']', but got '<scalar>'; mend the syntax here or just above")},
        id="an open bracket",
    ),
    pytest.param(
        {LISTEN: "  listen 127.0.0.1:8080\n"},
        {"3:13": ("not valid YAML: mapping values are not allowed here; mend the syntax here or just above")},
        id="a missing colon",
    ),
    pytest.param(
        {ROOT_PATH: "---\n" + ROOT_PATH},
        {"18:1": "a second document begins here; one file holds one configuration"},
        id="a second document",
    ),
    pytest.param({LISTEN: "  listen: \x01\n"}, {"2:11": "a character that YAML does not allow; remove it"}, id="a character that is none"),
    pytest.param(
        {LISTEN: '  listen: "\\UFFFFFFFF"\n'}, {"2:14": "not valid YAML; mend the syntax here or just above"}, id="an escape beyond Unicode"
    ),
    pytest.param(
        {LISTEN: '  listen: "\\ud800"\n'},
        {"2:11 server.listen": "half of a surrogate pair is no character; write the character itself"},
        id="half a surrogate pair",
    ),
    pytest.param(
        {LISTEN: "  listen: [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]\n"},
        {"2:25 server.listen[0][0][0][0][0][0][0][0][0][0][0][0][0][0]": "nested deeper than 16 levels; nothing in a configuration is"},
        id="too deep",
    ),
]


def test_the_valid_configuration_is_accepted(tmp_path):
    assert faults_of(VALID, tmp_path) == []


@pytest.mark.parametrize(("changes", "faults"), YAML)
def test_a_broken_configuration_is_refused_with_every_fault_and_its_remedy(tmp_path, changes, faults):
    write_secret_files(tmp_path)
    found = faults_of(damaged(changes), tmp_path)
    assert found == [f"{place}: {text}" for place, text in faults.items()]
    assert "hunter2" not in "".join(found).lower()
