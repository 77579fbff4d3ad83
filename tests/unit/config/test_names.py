from __future__ import annotations

import pytest

from relayq.config.names import edit_distance, nearest_key, normalise_key


@pytest.mark.parametrize(
    ("first", "second", "limit", "distance"),
    [
        ("", "", 2, 0),
        ("lock", "lock", 2, 0),
        ("lock", "look", 2, 1),
        ("lock", "loc", 2, 1),
        ("lock", "clocks", 2, 2),
        ("lock", "user", 2, 3),
        ("lock", "", 2, 3),
        ("kitten", "sitting", 3, 3),
        ("kitten", "sitting", 2, 3),
        ("ab", "ba", 2, 2),
    ],
)
def test_edit_distance(first: str, second: str, limit: int, distance: int) -> None:
    assert edit_distance(first, second, limit) == distance
    assert edit_distance(second, first, limit) == distance


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("max-atempts", "max-attempts"),
        ("rabbitmq-result", "rabbitmq-results"),
        ("dns-time", None),
        ("dns-mix-ttl", "dns-min-ttl"),
        ("amqp-adress", "amqp-address"),
        ("x" * 100_000, None),
    ],
)
def test_nearest_key(key: str, nearest: str | None) -> None:
    assert nearest_key(key) == nearest


def test_spelling() -> None:
    assert normalise_key(" RabbitMQ_Queue-TYPE ") == "rabbitmq-queue-type"
