"""DANE: TLSA records signed by Knot, validated by Unbound, held against what Postfix shows (RFC 7672)."""

from __future__ import annotations

import pytest

from tests.integration.receivers.contents import first_line
from tests.integration.receivers.deliveries import arrived, deliver
from tests.support.receivers.postfix import Postfix
from tests.support.receivers.sender import Sender


@pytest.mark.parametrize(
    ("domain", "encrypted"),
    [
        ("key.signed.test", True),
        ("authority.signed.test", True),
        ("expired.signed.test", True),
        ("unusable.signed.test", True),
        ("nothing.signed.test", False),
        # Without a chain of trust the records mean nothing.
        ("mismatch.unsigned.test", True),
        ("no-tls.unsigned.test", False),
    ],
)
def test_accepted(domain: str, encrypted: bool, validating_sender: Sender, postfix_server: Postfix) -> None:
    case = f"dane-{domain}"
    result = deliver(validating_sender, f"u@{domain}", case)
    assert (result.queue, result.end) == ("success", "message/accepted 250")
    added, _ = arrived(postfix_server, case)
    assert (" with ESMTPS id " in added["received"].replace("\t", " ")) is encrypted


@pytest.mark.parametrize("domain", ["mismatch", "no-tls", "wrong-name", "unusable-no-tls"])
@pytest.mark.parametrize("security", ["optional", "opportunistic", "required"])
def test_nothing_is_sent(domain: str, security: str, validating_sender: Sender, postfix_server: Postfix) -> None:
    """No level that a message asks for is below what the domain has published."""
    case = f"dane-{domain}-{security}"
    result = deliver(validating_sender, f"u@{domain}.signed.test", case, security=security)
    assert (result.queue, result.end) == ("retry", "starttls/error")
    after = f"after-{case}"
    deliver(validating_sender, "u@key.signed.test", after)
    arrived(postfix_server, after)
    assert f"{first_line(case)}\n".encode() not in b"".join(postfix_server.messages())


def test_answers_that_fail_validation(validating_sender: Sender) -> None:
    result = deliver(validating_sender, "u@key.bogus.test", "dane-bogus")
    assert (result.queue, result.end) == ("retry", "dns/timeout")
