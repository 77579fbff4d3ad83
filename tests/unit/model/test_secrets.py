from __future__ import annotations

import pytest

from relayq.model.members import decode_members, encode_members
from relayq.model.secrets import strip_secrets


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"id":1,"x":{"key":"k","password":"p"}}', '{"id":1,"x":{"key":"k","password":"p"}}'),
        ('{"dkim":null,"smarthost":null,"mime":"text"}', '{"dkim":null,"smarthost":null,"mime":"text"}'),
        (
            '{"dkim":{"domain":"a.test","key":"SECRET","n":1.10},"id":1e400}',
            '{"dkim":{"domain":"a.test","n":1.10},"id":1e400}',
        ),
        (
            r'{"a":1,"dkim":[ {"key":"SECRET"} , {"note": "\ud83d","k\u0065y":"SECRET"}, { "a" : 1 } ],"b":2}',
            r'{"a":1,"dkim":[{},{"note":"\ud83d"},{ "a" : 1 }],"b":2}',
        ),
        ('{"dkim":[ { "a" : 1 } ]}', '{"dkim":[ { "a" : 1 } ]}'),
        ('{"dkim":[]}', '{"dkim":[]}'),
        (
            '{"smarthost":{"hostname":"h","username":"u","password":"SECRET"}}',
            '{"smarthost":{"hostname":"h","username":"u"}}',
        ),
        (
            '{"mime":{"subject":"s", "DK_IM":{"key":"SECRET"},"text":"key"}}',
            '{"mime":{"subject":"s","DK_IM":{},"text":"key"}}',
        ),
        ('{"mime":{"subject" : "s"}}', '{"mime":{"subject" : "s"}}'),
        # Of a wrong type: nobody can tell where the secret stands.
        ('{"dkim":"SECRET","smarthost":["SECRET"]}', '{"dkim":null,"smarthost":null}'),
        ('{"dkim":[["SECRET"],null]}', '{"dkim":[null,null]}'),
    ],
)
def test_what_is_shown_of_a_message(body: str, shown: str) -> None:
    members = decode_members(body.encode())

    assert encode_members(members, strip_secrets(members)).decode() == shown
    assert "SECRET" not in shown
