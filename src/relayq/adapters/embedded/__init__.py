"""The broker in one SQLite file: durable queues for one machine without RabbitMQ (spec amqp.md 20). Layer 4."""

from relayq.adapters.embedded.broker import EmbeddedBroker
from relayq.adapters.embedded.inspector import EmbeddedInspector
from relayq.adapters.embedded.location import find_file
from relayq.adapters.embedded.options import EmbeddedOptions, Timings
from relayq.adapters.embedded.tables import QueueDepth

__all__ = ["EmbeddedBroker", "EmbeddedInspector", "EmbeddedOptions", "QueueDepth", "Timings", "find_file"]
