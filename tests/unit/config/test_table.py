"""The table against the list of keys everybody agreed on, written down a second time on purpose."""

from __future__ import annotations

import pytest

from relayq.config.setting import Setting, Supported, Tier
from relayq.config.table import SECTIONS, TABLE
from relayq.config.value_types import Empty

# Key and default text by tier and reloadability (spec config.md 8); nothing behind the blank = empty.
A_FIXED = """
config-file
hostname
rabbitmq-address amqp://guest:guest@localhost/
rabbitmq-verify true
rabbitmq-outbox outbox
rabbitmq-declare true
rabbitmq-durable true
storage-address
"""
A_RELOADABLE = """
rabbitmq-results
rabbitmq-success
rabbitmq-failure
rabbitmq-retry
rabbitmq-queues-override replace
rabbitmq-persistent true
rabbitmq-qos 1000
rabbitmq-max-hold 600
rabbitmq-ack-limit 1500
rabbitmq-max-consume 128MB
max-delivertime 86400
max-attempts 0
retry-interval 600,600,1800,1800,3600,3600,7200
validate-envelope strict
validate-recipient strict
smtp-default-ips
smtp-out-hostname
smtp-out-security opportunistic
smtp-out-tls-min 1.2
auth-plaintext false
smtp-out-port 25
ip-order v4first
smtp-max-hosts 5
host-offline-time 300
host-backoff-time 60
intro-5xx fail
auth-5xx retry
smtp-out-timeout-connect 30
smtp-out-timeout-intro 300
smtp-out-timeout-ehlo 300
smtp-out-timeout-mailfrom 300
smtp-out-timeout-rcptto 300
smtp-out-timeout-starttls 120
smtp-out-timeout-auth 120
smtp-out-timeout-data 120
smtp-out-timeout-block 180
smtp-out-timeout-message 600
smtp-out-timeout-quit 5
8bit convert
smarthost
smarthost-port 25
smarthost-username
smarthost-password
smtp-connections 1000
ip-maxconnections 20
connection-maxmessages 0
connection-maxidle 5000
dns-nameservers
dns-timeout 60.0
dns-interval 3.0
dns-attempts 5
storage-policy all
storage-ttl 3600
storage-timeout 20
storage-reschedule 120
download-user-agent …
download-blacklist …
download-whitelist
download-timeout 10
download-maxsize 10MB
application-log stderr
"""
B_FIXED = """
user
lock
daemon false
server-id
paused false
smtp-threads 0
rabbitmq-exchange
rabbitmq-lazy false
rabbitmq-maxpriority 0
rabbitmq-queue-type auto
rabbitmq-delivery-limit 1000
rabbitmq-consumers 1
rabbitmq-publishers 1
smtp-sink-address
smtp-sink-port 25
smtp-sink-username
smtp-sink-password
storage-threads 1
rabbitmq-held
journal-directory auto
journal-sync second
journal-max-size 256MB
journal-failure continue
download-cache
database-address
database-validate true
www-port
www-ip 127.0.0.1
www-secure-port
"""
B_RELOADABLE = """
shutdown-timeout 60
rabbitmq-invalid
rabbitmq-dsn
rabbitmq-inbox
rabbitmq-minqos 100
rabbitmq-flush-qos 1000
rabbitmq-throttle 100
rabbitmq-encoding
rabbitmq-max-memory 256MB
rabbitmq-max-publish 0
delay-property delayed
smtp-out-ipv6 auto
long-lines keep
dkim-oversign true
responsive-autotext true
result-format basic
result-secrets keep
smtp-connections-out 0
smtp-connections-in 0
domain-maxmessages 0
domain-maxconnects 0
domain-maxconnections 0
domain-maxqueue 500
ip-maxmessages 0
ip-maxconnects 0
dsn-notify
dsn-ret HDRS
dsn-envelope
dsn-from
dsn-mta
dns-capacity 100
dns-rotate false
dns-min-ttl 60
dns-max-ttl 86400
dns-negative-ttl 300
download-ttl 3600
database-ttl 600
log-level info
application-log-format text
send-log-file
send-log-format
www-certificate
www-privatekey
www-ciphers
www-auth
www-api-tokens
www-connections 10
www-metrics true
"""
C_FIXED = """
plugin-directory
rabbitmq-delay ttl
dns-sockets 4
dns-buffersize 1MB
www-dir
smtp-port
smtp-secure-port
smtp-ip
spool-directory
spool-threads 1
cluster-address
cluster-exchange cluster
cluster-verify true
cluster-timeout 1
"""
C_RELOADABLE = """
rabbitmq-local
rabbitmq-reports
rabbitmq-refused
rabbitmq-max-redeliveries 0
retry-jitter 0
failover-on-4xx false
smtp-bdat never
dane auto
mta-sts never
inlinecss-important true
personalize-headers subject
personalize-escape none
responsive-icons
result-local-codes false
result-connect-ips false
extracted false
proxy-server
dsn-delay-after 14400
dsn-advertise true
download-proxy
received-log-file
received-log-format
download-log-file
download-log-format
www-log-file
www-log-format
www-host
www-url
www-cache-control must-revalidate
render-useragent
smtp-certificate
smtp-key
smtp-ciphers
smtp-auth
smtp-range 127.0.0.0/8,::1/128
smtp-proxy
smtp-extract true
smtp-validate-address strict
smtp-maxsize 100MB
smtp-timeout 300
smtp-protection true
smtp-mappable-ips
smtp-unmappable-ips
smtp-check
smtp-auth-results
spamassassin-host localhost
spamassassin-port 783
spool-fail-directory
spool-delay 0
spool-remove true
spool-extract true
spool-open-files 10
"""

LISTED = {
    key: (default, tier, reloadable)
    for text, tier, reloadable in (
        (A_FIXED, Tier.A, False),
        (A_RELOADABLE, Tier.A, True),
        (B_FIXED, Tier.B, False),
        (B_RELOADABLE, Tier.B, True),
        (C_FIXED, Tier.C, False),
        (C_RELOADABLE, Tier.C, True),
    )
    for key, _, default in (line.partition(" ") for line in text.split("\n") if line)
}
COMPUTED = "…"
SECRET = {
    "rabbitmq-address",
    "smarthost-username",
    "smarthost-password",
    "smtp-sink-username",
    "smtp-sink-password",
    "storage-address",
    "download-cache",
    "database-address",
    "www-auth",
    "smtp-auth",
    "cluster-address",
}


def test_the_table_has_every_key_and_no_other() -> None:
    assert TABLE.keys() == LISTED.keys()


def test_no_key_stands_twice() -> None:
    assert sum(len(section.settings) for section in SECTIONS) == len(TABLE)


@pytest.mark.parametrize("setting", TABLE.values(), ids=lambda setting: setting.key)
def test_row(setting: Setting) -> None:
    default, tier, reloadable = LISTED[setting.key]

    assert setting.default == default or default == COMPUTED
    assert (setting.tier, setting.reloadable) == (tier, reloadable)
    assert setting.secret == (setting.key in SECRET)
    assert setting.sentence.endswith(".")


@pytest.mark.parametrize("setting", TABLE.values(), ids=lambda setting: setting.key)
def test_the_default_is_a_value_that_works(setting: Setting) -> None:
    value = setting.default_value()

    assert not isinstance(value, Empty)
    assert setting.accepts(value)
    if isinstance(setting.supported, tuple):
        assert all(setting.accepts(setting.read(text)) for text in setting.supported)


@pytest.mark.parametrize("setting", TABLE.values(), ids=lambda setting: setting.key)
def test_blank_text_never_looks_like_a_value_of_its_own(setting: Setting) -> None:
    if setting.type.empty is Empty.USE_DEFAULT:
        assert setting.read("") == setting.default_value()
    elif setting.type.empty is Empty.REFUSED:
        with pytest.raises(ValueError, match="is empty"):
            setting.read(" ")
    else:
        assert setting.read(" ") in {None, (), ""}


def test_the_outbox_cannot_be_off() -> None:
    assert TABLE["rabbitmq-outbox"].type.empty is Empty.REFUSED
    assert TABLE["retry-interval"].type.empty is Empty.REFUSED


def test_what_the_first_version_promises_works() -> None:
    not_yet = {key for key, row in TABLE.items() if row.tier is Tier.A and row.supported is not Supported.YES}

    assert not not_yet
