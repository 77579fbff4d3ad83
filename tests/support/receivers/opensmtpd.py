"""OpenSMTPD: delivery into a maildir, STARTTLS, logins under TLS, refusals by its filters.

Each way of behaving is an address of its own, all on one port, so that one running OpenSMTPD serves every test.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.processes import is_listening
from tests.support.receivers.certificates import Certificates
from tests.support.receivers.jail import JailedServer
from tests.support.receivers.mailbox import read_maildir

HOSTNAME = "mx.opensmtpd.test"
SIZE_LIMIT = 1_500_000
LOGIN = ("anna", "s3cret pass")
_LOGIN_HASH = "$6$relayqtests$HfNzJXTTGtJ.5FeoYdxMKvVt8Kw.cfyjHzBdAF9QYHmgfryVARukySLlmVfVFgDiCVpPCcOXPW7c8j7A4TInP1"

PLAIN = "127.0.31.1"
TLS = "127.0.31.2"
LOGIN_PLACE = "127.0.31.3"
OTHER = "127.0.31.4"
BUSY = "127.0.31.5"
ADDRESSES = (PLAIN, TLS, LOGIN_PLACE, OTHER, BUSY)

_CONFIGURATION = """\
pki server cert "/etc/smtpd/server.pem"
pki server key "/etc/smtpd/server.pem"
table users file:/etc/smtpd/users
table mailboxes {{ "u" = "vmail" }}
table everybody {{ "@" = "vmail" }}
smtp max-message-size {size_limit}
filter "sender" phase mail-from match mail-from {{ "refused@shop.test" }} reject "550 5.7.1 Sender not welcome"
filter "later" phase rcpt-to match rcpt-to {{ "u+later@full.opensmtpd.test" }} reject "451 4.2.0 Greylisted"
filter "refusals" chain {{ "sender", "later" }}
filter "busy" phase connect match src {{ "127.0.0.1" }} disconnect "421 4.3.2 Too many connections"
listen on {plain} port {port} hostname {hostname} filter "refusals"
listen on {other} port {port} hostname {hostname}
listen on {busy} port {port} hostname {hostname} filter "busy"
listen on {tls} port {port} hostname {hostname} tls pki server
listen on {login} port {port} hostname {hostname} tls-require pki server auth <users>
action "store" maildir "/var/mail/all" virtual <mailboxes>
action "relayed" maildir "/var/mail/all" virtual <everybody>
match auth from any for any action "relayed"
match from any for domain "*.opensmtpd.test" action "store"
"""


class OpenSmtpd(JailedServer):
    """Takes mail for ``u+ANYTHING@ANYTHING.opensmtpd.test``, and from its user under TLS for everybody.

    Attributes:
        port: Of every address.
    """

    package = "opensmtpd"
    users = ("opensmtpd", "opensmtpq", "vmail")

    def __init__(self, port: int, certificates: Certificates) -> None:
        super().__init__()
        self.port = port
        self._certificates = certificates

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self.jail.root / "output").read_text(encoding="utf-8", errors="replace")

    def messages(self) -> tuple[bytes, ...]:
        """Everything delivered, oldest first, lines ended by LF."""
        return read_maildir(self.jail.root / "var/mail/all")

    def configure(self) -> None:
        """Configuration, users, certificate, folders."""
        text = _CONFIGURATION.format(
            hostname=HOSTNAME,
            port=self.port,
            size_limit=SIZE_LIMIT,
            plain=PLAIN,
            tls=TLS,
            login=LOGIN_PLACE,
            other=OTHER,
            busy=BUSY,
        )
        self.jail.add_shell()
        self.jail.write("etc/smtpd.conf", text, mode=0o600)
        self.jail.write("etc/smtpd/users", f"{LOGIN[0]} {_LOGIN_HASH}\n", mode=0o644)
        self.jail.write("etc/smtpd/server.pem", self._certificates.issue(HOSTNAME, "*.mx.opensmtpd.test"), mode=0o600)
        self.jail.write("etc/ssl/certs/ca-certificates.crt", self._certificates.ca_file.read_text())
        self.jail.folder("var/lib/opensmtpd/empty")
        self.jail.folder("var/empty")
        self.jail.folder("var/spool", mode=0o711)
        self.jail.folder("var/mail", "vmail")

    def command(self) -> Sequence[str]:
        """In the foreground."""
        return ["/usr/sbin/smtpd", "-d"]

    def is_ready(self) -> bool:
        """Whether it listens everywhere."""
        return all(is_listening(address, self.port) for address in ADDRESSES)
