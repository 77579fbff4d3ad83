"""Where messages come from, where results go, and the cluster."""

from __future__ import annotations

from relayq.config.broker_address import DEFAULT_ADDRESS
from relayq.config.name_types import exchange, needed_queue, queue
from relayq.config.network_types import broker_addresses, cluster_addresses
from relayq.config.table.row import NOT_YET, RELOAD, RESTART, YES, A, B, C, only, row
from relayq.config.value_types import Empty, boolean, integer, one_of, seconds, size, timeout

BROKER = (
    row(
        "rabbitmq-address",
        broker_addresses(),
        DEFAULT_ADDRESS,
        A,
        RESTART,
        "Broker or members of its cluster; `embedded:` works without RabbitMQ, in one file of this machine.",
        YES,
        secret=True,
    ),
    row("rabbitmq-verify", boolean(), "true", A, RESTART, "Check the certificates of `amqps://` brokers.", YES),
    row("rabbitmq-outbox", needed_queue(), "outbox", A, RESTART, "The queue messages are taken from.", YES),
    row("rabbitmq-results", queue(), "", A, RELOAD, "Gets every final result.", YES),
    row("rabbitmq-success", queue(), "", A, RELOAD, "Gets the final result of delivered messages.", YES),
    row("rabbitmq-failure", queue(), "", A, RELOAD, "Gets the final result of messages given up.", YES),
    row("rabbitmq-retry", queue(), "", A, RELOAD, "Gets results of attempts that will be repeated.", YES),
    row(
        "rabbitmq-queues-override",
        one_of("replace", "merge"),
        "replace",
        A,
        RELOAD,
        "Queues named in a message replace the configured ones altogether, or only those they name.",
        YES,
    ),
    row("rabbitmq-invalid", queue(), "", B, RELOAD, "Gets exact copies of messages nobody could read.", YES),
    row("rabbitmq-dsn", queue(), "", B, RELOAD, "Where generated delivery reports go, usually the outbox.", YES),
    row(
        "rabbitmq-inbox",
        queue(),
        "",
        B,
        RELOAD,
        "Where injected messages go; explicitly empty = thrown away.",
        YES,
        note="the value of `rabbitmq-outbox`",
    ),
    row(
        "rabbitmq-held",
        queue(),
        "",
        B,
        RESTART,
        "Gets messages that may have been accepted before a crash, instead of sending them again.",
        YES,
    ),
    row("rabbitmq-local", queue(), "", C, RELOAD, "Gets incoming mail for local addresses.", NOT_YET),
    row("rabbitmq-reports", queue(), "", C, RELOAD, "Gets incoming delivery reports.", NOT_YET),
    row("rabbitmq-refused", queue(), "", C, RELOAD, "Gets incoming mail that was refused.", NOT_YET),
    row("rabbitmq-exchange", exchange(), "", B, RESTART, "Exchange to publish to; empty = the default one.", YES),
    row("rabbitmq-declare", boolean(), "true", A, RESTART, "Create queues, exchange and bindings.", YES),
    row("rabbitmq-durable", boolean(), "true", A, RESTART, "What is created outlives a restart of the broker.", YES),
    row(
        "rabbitmq-persistent", boolean(), "true", A, RELOAD, "What is published outlives a restart of the broker.", YES
    ),
    row("rabbitmq-lazy", boolean(), "false", B, RESTART, "Queues keep messages on disk; before RabbitMQ 3.12.", YES),
    row("rabbitmq-maxpriority", integer(0, 255), "0", B, RESTART, "Highest priority of created queues; 0 = none.", YES),
    row(
        "rabbitmq-queue-type",
        one_of("auto", "classic", "quorum"),
        "auto",
        B,
        RESTART,
        "Type of created queues; `auto` leaves it to the virtual host.",
        YES,
    ),
    row(
        "rabbitmq-delivery-limit", integer(1), "1000", B, RESTART, "Deliveries after which a quorum outbox drops.", YES
    ),
    row("rabbitmq-consumers", integer(1, 64), "1", B, RESTART, "Consuming connections of each worker.", only("1")),
    row("rabbitmq-publishers", integer(1, 64), "1", B, RESTART, "Publishing connections of each worker.", only("1")),
    row("rabbitmq-qos", integer(1, 65535), "1000", A, RELOAD, "Messages a consumer holds at once.", YES),
    row("rabbitmq-minqos", integer(1, 65535), "100", B, RELOAD, "Never scaled below this unless memory is short.", YES),
    row("rabbitmq-flush-qos", integer(1, 65535), "1000", B, RELOAD, "Messages held while parking queues drain.", YES),
    row("rabbitmq-throttle", integer(1, 65535), "100", B, RELOAD, "Unconfirmed publishes of one publisher.", YES),
    row("rabbitmq-encoding", one_of("gzip", empty=None), "", B, RELOAD, "Compress what is published.", YES),
    row(
        "rabbitmq-max-hold",
        seconds(10, 3600),
        "600",
        A,
        RELOAD,
        "Longest wait in memory for the start of an SMTP transaction.",
        YES,
    ),
    row(
        "rabbitmq-ack-limit",
        seconds(70, 7200),
        "1500",
        A,
        RELOAD,
        "Longest time from consuming to acknowledging; stay below the consumer timeout of the broker.",
        YES,
    ),
    row(
        "rabbitmq-max-memory", size(), "256MB", B, RELOAD, "Message bodies held by a worker before it scales back.", YES
    ),
    row("rabbitmq-max-consume", size(), "128MB", A, RELOAD, "Larger messages, after unpacking, are malformed.", YES),
    row("rabbitmq-max-publish", size(), "0", B, RELOAD, "Largest message published; 0 = as the broker can.", YES),
    row(
        "rabbitmq-max-redeliveries",
        integer(),
        "0",
        C,
        RELOAD,
        "Refuse messages a quorum outbox has handed out this often before; 0 = never.",
        YES,
    ),
    row("rabbitmq-delay", one_of("ttl", "plugin"), "ttl", C, RESTART, "How messages wait for their time.", NOT_YET),
)

CLUSTER = (
    row(
        "cluster-address",
        cluster_addresses(),
        "",
        C,
        RESTART,
        "Broker all instances share.",
        NOT_YET,
        secret=True,
        note="the value of `rabbitmq-address`",
    ),
    row(
        "cluster-exchange",
        exchange(empty=Empty.USE_DEFAULT),
        "cluster",
        C,
        RESTART,
        "Exchange they talk over.",
        NOT_YET,
    ),
    row("cluster-verify", boolean(), "true", C, RESTART, "Check its certificate.", NOT_YET),
    row("cluster-timeout", timeout(), "1", C, RESTART, "How long answers of instances are awaited.", NOT_YET),
)
