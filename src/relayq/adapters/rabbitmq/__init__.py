"""The broker port on RabbitMQ, over an AMQP 0-9-1 client of our own. Layer 4."""

from relayq.adapters.rabbitmq.broker import RabbitMqBroker
from relayq.adapters.rabbitmq.inspector import RabbitMqInspector
from relayq.adapters.rabbitmq.options import Endpoint, RabbitMqOptions, Timings

__all__ = ["Endpoint", "RabbitMqBroker", "RabbitMqInspector", "RabbitMqOptions", "Timings"]
