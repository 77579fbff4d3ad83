"""Who may read metrics, and what "ready" means."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from relayq.adapters.figures import State
from relayq.supervisor.listening import TokenFile, WebError, WebRules, is_local, listen, readiness, tls_context


def test_tokens_are_compared_by_their_hash_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    digest = hashlib.sha256(b"secret").hexdigest()
    path.write_text(f"# of the monitoring\nprometheus:{digest}\nbroken\nempty:\n")
    tokens = TokenFile(str(path))
    assert tokens.accepts("Bearer secret")
    assert tokens.accepts("bearer secret ")
    for header in ("", "Bearer", "Bearer ", "Basic secret", "Bearer other", f"Bearer {digest}", "Bearer s\udcffx"):
        assert not tokens.accepts(header), header
    path.write_text(f"prometheus:{hashlib.sha256(b'another').hexdigest()}\n")
    os.utime(path, ns=(1, 1))
    assert not tokens.accepts("Bearer secret")
    path.unlink()
    assert not tokens.accepts("Bearer another")
    assert not TokenFile(None).accepts("Bearer secret")


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("192.0.2.1", False), (None, False), ("x", False)],
)
def test_local_clients(address: str | None, expected: bool) -> None:
    assert is_local(address) is expected


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([State.CONSUMING], (True, "1 consuming")),
        ([State.STARTING, State.CONSUMING], (True, "1 consuming, 1 starting")),
        ([State.BLOCKED, State.BLOCKED], (False, "2 blocked")),
        ([State.STOPPING], (False, "1 stopping")),
    ],
)
def test_ready_is_who_consumes(states: list[State], expected: tuple[bool, str]) -> None:
    assert readiness(states) == expected


def test_a_port_in_use_names_itself() -> None:
    end = listen("127.0.0.1", 0)
    port = end.getsockname()[1]
    with pytest.raises(WebError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use") as caught:
        listen("127.0.0.1", port)
    assert not caught.value.is_configuration
    end.close()


@pytest.mark.parametrize("certificate", [None, "/nonexistent"])
def test_https_without_a_certificate_is_a_configuration_error(certificate: str | None) -> None:
    rules = WebRules(
        addresses=("127.0.0.1",), ports=(), secure_ports=(8443,), certificate=certificate, private_key=certificate
    )
    with pytest.raises(WebError, match="www-") as caught:
        tls_context(rules)
    assert caught.value.is_configuration
