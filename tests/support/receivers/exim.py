"""Exim: delivery into a maildir, STARTTLS, logins of its own, and refusals at every point of the dialogue.

Each way of behaving is an address of its own, all on one port, so that one running Exim serves every test.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tests.support.processes import is_listening
from tests.support.receivers.certificates import Certificates
from tests.support.receivers.jail import JailedServer
from tests.support.receivers.mailbox import read_maildir

HOSTNAME = "mx.exim.test"
SIZE_LIMIT = 1_500_000
LOGIN = ("anna", "s3cret pass")
INTERNATIONAL = ("jürgen", "pässwörd €")

PLAIN = "127.0.21.1"
BARE = "127.0.21.2"
TLS = "127.0.21.3"
LOGIN_CRAM = "127.0.21.4"
LOGIN_PLAIN = "127.0.21.5"
LOGIN_LOGIN = "127.0.21.6"
REFUSES_CONNECTIONS = "127.0.21.7"
REFUSES_NAMES = "127.0.21.8"
OTHER = "127.0.21.9"
ADDRESSES = (
    PLAIN, BARE, TLS, LOGIN_CRAM, LOGIN_PLAIN, LOGIN_LOGIN, REFUSES_CONNECTIONS, REFUSES_NAMES, OTHER,
)  # fmt: skip

_CONFIGURATION = """\
primary_hostname = {hostname}
local_interfaces = {addresses}
daemon_smtp_ports = {port}
exim_user = Debian-exim
exim_group = Debian-exim
never_users =
deliver_drop_privilege
keep_environment =
print_topbitchars
rfc1413_query_timeout = 0s
host_lookup =
helo_accept_junk_hosts = *
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
message_size_limit = {size_limit}
log_selector = +smtp_connection +smtp_protocol_error +tls_cipher +received_recipients
tls_certificate = /etc/exim4/server.pem
tls_advertise_hosts = ${{if inlist{{$received_ip_address}}{{{tls}}}{{*}}}}
pipelining_advertise_hosts = {unless_bare}
chunking_advertise_hosts = {unless_bare}
dsn_advertise_hosts = {unless_bare}
smtputf8_advertise_hosts = {unless_bare}
acl_smtp_connect = connect
acl_smtp_helo = name
acl_smtp_mail = sender
acl_smtp_rcpt = recipient
acl_smtp_predata = before_content
acl_smtp_data = content

begin acl
connect:
  deny condition = ${{if eq{{$received_ip_address}}{{{refuses_connections}}}}}
       message = Your address is not welcome
  accept
name:
  deny condition = ${{if eq{{$received_ip_address}}{{{refuses_names}}}}}
       message = Your name is not welcome
  accept
sender:
  deny senders = ^refused@
       message = 5.7.1 This sender is not welcome
  accept
recipient:
  accept authenticated = *
  deny domains = ! *.exim.test
       message = 5.7.1 Relaying is not permitted
  defer local_parts = u-later
       message = 4.2.0 Greylisted, come back later
  accept local_parts = ^u
  deny message = 5.1.1 No such user here
before_content:
  defer senders = ^no-content@
       message = 4.3.1 Disk full
  accept
content:
  deny condition = ${{if match{{$h_subject:}}{{refused}}}}
       message = 5.7.1 This looks like spam
  accept

begin routers
all:
  driver = accept
  transport = maildir

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = /var/mail/all
  create_directory
  user = Debian-exim
  return_path_add
  envelope_to_add

begin authenticators
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_advertise_condition = ${{if eq{{$received_ip_address}}{{{login_cram}}}}}
  server_secret = ${{lookup{{$auth1}}lsearch{{/etc/exim4/users}}{{$value}}fail}}
  server_set_id = $auth1
plain:
  driver = plaintext
  public_name = PLAIN
  server_advertise_condition = ${{if eq{{$received_ip_address}}{{{login_plain}}}{{$tls_in_cipher}}}}
  server_prompts = :
  server_condition = ${{if eq{{$auth3}}{{${{lookup{{$auth2}}lsearch{{/etc/exim4/users}}{{$value}}fail}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_advertise_condition = ${{if eq{{$received_ip_address}}{{{login_login}}}{{$tls_in_cipher}}}}
  server_prompts = Username:: : Password::
  server_condition = ${{if eq{{$auth2}}{{${{lookup{{$auth1}}lsearch{{/etc/exim4/users}}{{$value}}fail}}}}}}
  server_set_id = $auth1
"""


class Exim(JailedServer):
    """Takes mail for ``NAME@ANYTHING.exim.test`` where the local part begins with ``u``, and from users for everybody.

    It refuses by sender (``refused@``, ``no-content@``), recipient (``u-later``) and subject (``refused``).

    Attributes:
        port: Of every address.
    """

    package = "exim4-daemon-light"
    users = ("Debian-exim",)

    def __init__(self, port: int, certificates: Certificates) -> None:
        super().__init__()
        self.port = port
        self._certificates = certificates

    @property
    def log(self) -> str:
        """What it has logged about messages so far."""
        path = self.jail.root / "var/log/exim4/mainlog"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def messages(self) -> tuple[bytes, ...]:
        """Everything delivered, oldest first, lines ended by LF."""
        return read_maildir(self.jail.root / "var/mail/all")

    def configure(self) -> None:
        """Configuration, users, certificate, folders."""
        text = _CONFIGURATION.format(
            hostname=HOSTNAME,
            addresses=" : ".join(ADDRESSES),
            port=self.port,
            size_limit=SIZE_LIMIT,
            tls=" : ".join((TLS, LOGIN_PLAIN, LOGIN_LOGIN)),
            unless_bare=f"${{if eq{{$received_ip_address}}{{{BARE}}}{{}}{{*}}}}",
            refuses_connections=REFUSES_CONNECTIONS,
            refuses_names=REFUSES_NAMES,
            login_cram=LOGIN_CRAM,
            login_plain=LOGIN_PLAIN,
            login_login=LOGIN_LOGIN,
        )
        self.jail.write("etc/exim4/exim4.conf", text)
        users = "".join(f'"{name}": {password}\n' for name, password in (LOGIN, INTERNATIONAL))
        uid = self.jail.uids["Debian-exim"]
        private = {"users": users, "server.pem": self._certificates.issue(HOSTNAME, "*.mx.exim.test")}
        for name, content in private.items():
            self._owned(f"etc/exim4/{name}", content, uid)
        for folder in ("var/spool/exim4", "var/log/exim4", "var/mail"):
            self.jail.folder(folder, "Debian-exim")

    def _owned(self, path: str, content: str, uid: int) -> None:
        os.chown(self.jail.write(path, content, mode=0o400), uid, uid)

    def command(self) -> Sequence[str]:
        """The daemon, in the foreground."""
        return ["/usr/sbin/exim4", "-bdf"]

    def is_ready(self) -> bool:
        """Whether it listens everywhere."""
        return all(is_listening(address, self.port) for address in ADDRESSES)
