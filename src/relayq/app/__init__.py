"""The composition root of a worker: the only place that knows every part. Layer 6.

``worker`` builds every object and passes it what it uses, ``rules`` cuts the settings into records for the parts,
``broker`` makes the broker that is configured, ``sending`` and ``composing`` each build what belongs together; nobody
below sees :class:`~relayq.config.Settings`.
"""

from relayq.app.broker import LogLine, SilentListener, open_broker, open_inspector, rabbitmq_options
from relayq.app.composing import NoFetcher, database_keys, open_composer
from relayq.app.run import WorkerRun, exit_code_of, shown_address, spare_the_collector
from relayq.app.worker import Worker
from relayq.app.world import Links, World

__all__ = [
    "Links",
    "LogLine",
    "NoFetcher",
    "SilentListener",
    "Worker",
    "WorkerRun",
    "World",
    "database_keys",
    "exit_code_of",
    "open_broker",
    "open_composer",
    "open_inspector",
    "rabbitmq_options",
    "shown_address",
    "spare_the_collector",
]
