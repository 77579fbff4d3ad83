"""Every setting there is: name, type, default, tier, reload, sentence, and which of its values already work.

This table is the only place that knows the settings (spec config.md 8): reading, checking, the reference page and the
list of effective values all follow it. To switch a feature on, change the last column of its rows, nothing else here:
``YES`` = every value works, ``NOT_YET`` = only the default, ``only(…)`` = the default and these. Part of layer 5.
"""

from relayq.config.setting import Section
from relayq.config.table.broker import BROKER, CLUSTER
from relayq.config.table.delivery import DELIVERY, DNS, REPORTS, THROTTLE
from relayq.config.table.ingress import SMTP_SERVER, SPOOL
from relayq.config.table.process import HTTP, LOGGING, PROCESS
from relayq.config.table.storage import DATABASE, DOWNLOADS, JOURNAL, STORE

SECTIONS = (
    Section(title="Process", settings=PROCESS),
    Section(title="RabbitMQ", settings=BROKER),
    Section(title="Delivery", settings=DELIVERY),
    Section(title="Base throttle", settings=THROTTLE),
    Section(title="Delivery status notifications", settings=REPORTS),
    Section(title="DNS", settings=DNS),
    Section(title="Message store", settings=STORE),
    Section(title="Outcome journal", settings=JOURNAL),
    Section(title="Downloads", settings=DOWNLOADS),
    Section(title="Database", settings=DATABASE),
    Section(title="Logging", settings=LOGGING),
    Section(title="HTTP: metrics, API, console", settings=HTTP),
    Section(title="SMTP server", settings=SMTP_SERVER),
    Section(title="Spool directory", settings=SPOOL),
    Section(title="Cluster", settings=CLUSTER),
)
"""In the order of the reference page."""

TABLE = {setting.key: setting for section in SECTIONS for setting in section.settings}
"""The same by key."""

__all__ = ["SECTIONS", "TABLE"]
