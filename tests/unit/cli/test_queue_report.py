"""Tables and JSON of ``relayq queue``, and which queues words mean."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from relayq.cli.durations import show_duration
from relayq.cli.endings import CommandFailed
from relayq.cli.queue_report import SHOWN_DOMAINS, QueueReport, QueueRow, print_text, render_json
from relayq.cli.queue_roles import Place, find_places, places_of, roles_of
from relayq.cli.queues import describe_purge
from relayq.config import Settings, load, parse_options
from relayq.ports import DomainState, QueueState

NOW = datetime(2031, 3, 1, 9, 0, 0, tzinfo=UTC)


def settings(*options: str) -> Settings:
    return load(parse_options(["--hostname=host.example", *options]), no_default_config=True)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (119, "1 min"),
        (3600, "1 h"),
        (12_345, "3 h 25 min"),
        (86_400, "1 d"),
        (190_000, "2 d 4 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


def row(*roles: str, **state: object) -> QueueRow:
    return QueueRow(roles=roles, state=QueueState(**state))  # type: ignore[arg-type]


def report(*rows: QueueRow, domains: tuple[DomainState, ...] | None = None) -> QueueReport:
    return QueueReport(
        broker="RabbitMQ 3.10.8 at x:1", at=NOW, rows=rows, domains=None if domains is None else ("outbox", domains)
    )


def test_delay_queues_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    print_text(
        report(
            row("outbox", name="outbox", ready=7, consumers=1),
            row("delay", name="outbox.delay.1", exists=True),
            row("delay", name="outbox.delay.2", exists=False),
            row("delay", name="outbox.delay.600", ready=5, consumers=0),
            row("poison", name="outbox.poison", exists=False),
            row("results", name="results", trouble="no\x1b[2Jaccess"),
        )
    )
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "2031-03-01 09:00:00 UTC, RabbitMQ 3.10.8 at x:1",
        "queue for ready delayed in hand consumers oldest",
        "outbox outbox 7 - - 1 -",
        "outbox.delay.* (3) delay 5 - - 0 -",
        "outbox.delay.600 delay 5 - - 0 -",
        "outbox.poison poison - - - - not there",
        r"results results - - - - no\x1b[2Jaccess",
    ]


def test_json_has_null_for_what_is_not_known() -> None:
    state = {"name": "outbox", "ready": 2, "oldest_at": NOW - timedelta(seconds=1.5), "newest_at": NOW + timedelta(1)}
    assert json.loads(render_json(report(row("outbox", **state)))) == {
        "time": "2031-03-01 09:00:00",
        "broker": "RabbitMQ 3.10.8 at x:1",
        "queues": [
            {
                "queue": "outbox",
                "roles": ["outbox"],
                "exists": True,
                "ready": 2,
                "delayed": None,
                "unsettled": None,
                "consumers": None,
                "oldest": 1.5,
                "newest": 0.0,
            }
        ],
    }


def test_many_domains_are_cut_for_people_only(capsys: pytest.CaptureFixture[str]) -> None:
    domains = tuple(
        DomainState(domain=f"d{n}.test", ready=1, delayed=2, unsettled=0, by_age=(3, 0, 0, 0, 0), oldest_at=NOW)
        for n in range(SHOWN_DOMAINS + 2)
    )
    print_text(report(domains=domains))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "and 6 messages for 2 further domains; --json has all of them"
    assert len(json.loads(render_json(report(domains=domains)))["domains"]["domains"]) == SHOWN_DOMAINS + 2


def test_words_mean_configured_queues() -> None:
    known = settings("--rabbitmq-outbox=out", "--rabbitmq-results=done", "--rabbitmq-dsn=out")
    assert find_places(known, "results", ()) == (Place(word="results", name="done"),)
    assert find_places(known, "done", ()) == (Place(word="", name="done"),)
    assert find_places(known, "success", ()) == (Place(word="", name="success"),)
    assert find_places(known, "poison", ()) == (Place(word="poison", name="out.poison"),)
    assert [place.name for place in find_places(known, "delay", ())][:2] == ["out.delay.1", "out.delay.2"]
    assert "out.delay.600" in {place.name for place in places_of(known)}
    assert roles_of(known, "out") == ("outbox", "dsn", "inbox")
    assert roles_of(known, "unknown") == ()


def test_words_with_the_embedded_broker() -> None:
    known = settings("--rabbitmq-address=embedded:///x")
    assert find_places(known, "delay", ()) == (Place(word="delay", name="outbox", is_delayed=True),)
    parked = QueueState(name="outbox.park.domain.example.org", ready=1)
    assert find_places(known, "parking", (QueueState(name="x"), parked))[0].name == parked.name
    with pytest.raises(CommandFailed, match="no parking queue"):
        find_places(known, "parking", ())


@pytest.mark.parametrize(
    ("place", "state", "text"),
    [
        (Place(word="outbox", name="q"), {"ready": 1}, "q: 1 message would be deleted; how old they are RabbitMQ"),
        (Place(word="", name="q"), {"ready": 2, "consumers": 1}, "2 messages would be deleted"),
        (Place(word="delay", name="outbox.delay.600"), {"ready": 3}, "each has been there for at most 10 min"),
        (
            Place(word="delay", name="q", is_delayed=True),
            {"delayed": 4, "unsettled": 5, "oldest_at": NOW, "newest_at": NOW},
            "q: 4 messages that wait for their time would be deleted; the oldest message",
        ),
    ],
)
def test_what_a_purge_would_delete(place: Place, state: dict[str, object], text: str) -> None:
    described = describe_purge(place, QueueState(name=place.name, **state))  # type: ignore[arg-type]
    assert text in described
    assert ("would stay" in described) is ("unsettled" in state or "consumers" in state)
