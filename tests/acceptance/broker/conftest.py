"""A whole worker on a real RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.rabbitmq_engine import RabbitMqEngine
from tests.support.servers import RabbitMqNode

MakeEngine = Callable[..., RabbitMqEngine]


@pytest.fixture
def engine_on(rabbitmq: RabbitMqNode) -> MakeEngine:
    """Makes engines on the session's node."""

    def make(*options: str, **arguments: Any) -> RabbitMqEngine:
        return RabbitMqEngine(rabbitmq, *options, **arguments)

    return make
