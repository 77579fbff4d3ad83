from __future__ import annotations

from pathlib import Path

import pytest

from relayq.config import ConfigurationError, Reload, decide_reload
from tests.unit.config.loading import load_text


def reload(folder: Path, running: str, fresh: str) -> Reload:
    return decide_reload(load_text(folder, running), load_text(folder, fresh))


def test_nothing_changed(tmp_path: Path) -> None:
    outcome = reload(tmp_path, "max-attempts: 3\n", "# moved\nmax-attempts: 3\n")

    assert (outcome.applied, outcome.needs_restart) == ((), ())


def test_some_keys_are_applied_and_others_wait_for_a_restart(tmp_path: Path) -> None:
    outcome = reload(tmp_path, "server-id: a\nmax-attempts: 3\n", "server-id: b\nlog-level: debug\n")

    assert (outcome.applied, outcome.needs_restart) == (("max-attempts", "log-level"), ("server-id",))
    assert outcome.settings.process.server_id == "a"
    assert outcome.settings.delivery.max_attempts == 0
    assert outcome.settings.log.level == "debug"


def test_the_inbox_follows_the_outbox_in_use(tmp_path: Path) -> None:
    outcome = reload(tmp_path, "rabbitmq-outbox: a\n", "rabbitmq-outbox: b\n")

    assert (outcome.applied, outcome.needs_restart) == ((), ("rabbitmq-outbox",))
    assert outcome.settings.queues.inbox == outcome.settings.queues.outbox == "a"


def test_a_mixture_that_would_loop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        reload(tmp_path, "rabbitmq-outbox: a\n", "rabbitmq-outbox: b\nrabbitmq-results: a\n")

    assert str(caught.value) == (
        f"{tmp_path}/config.txt:2: rabbitmq-results: is the outbox: its messages would be mailed, for ever"
        " until the restart"
    )
