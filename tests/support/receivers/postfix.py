"""Postfix: delivery into maildirs, STARTTLS, SASL through a Dovecot, DSN, SMTPUTF8, postscreen and greylisting.

Each way of behaving is an address of its own, all on one port, so that one running Postfix serves every test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.support.processes import is_listening
from tests.support.receivers.addresses import free_address, has_ipv6
from tests.support.receivers.certificates import Certificates
from tests.support.receivers.jail import JailedServer
from tests.support.receivers.mailbox import read_maildir

HOSTNAME = "mx.postfix.test"
NAMES = (HOSTNAME, "*.mx.tls.postfix.test", "*.mx.signed.test")
"""What its certificates are for."""
SIZE_LIMIT = 1_500_000
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")
SUBMISSIONS_PORT = 465
MASTER = "/usr/lib/postfix/sbin/master"

PLAIN = "127.0.11.1"
BARE = "127.0.11.2"
GREET_PAUSE = "127.0.11.3"
TLS = "127.0.11.4"
TLS_REQUIRED = "127.0.11.5"
TLS_EXPIRED = "127.0.11.6"
TLS_WRONG_NAME = "127.0.11.7"
TLS_UNTRUSTED = "127.0.11.8"
TLS_OLD = "127.0.11.9"
LOGIN_ANY = "127.0.11.10"
LOGIN_CLEAR = "127.0.11.11"
LOGIN_PLAIN = "127.0.11.12"
LOGIN_LOGIN = "127.0.11.13"
STRICT = "127.0.11.14"
IMPATIENT = "127.0.11.15"
OTHER = "127.0.11.16"
LOGIN_PLAIN_CLEAR = "127.0.11.17"
LOGIN_LOGIN_CLEAR = "127.0.11.18"
TLS_OTHER = "127.0.11.19"
CROWDED = "127.0.11.20"
GREYLISTED = "127.0.11.21"
IPV6 = "::1"

_TLS = {"smtpd_tls_security_level": "may"}
_LOGIN = {
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_relay_restrictions": "permit_sasl_authenticated,reject",
    "smtpd_recipient_restrictions": "permit_sasl_authenticated,reject",
}
_NOTHING = "pipelining,size,8bitmime,smtputf8,dsn,chunking,enhancedstatuscodes,etrn,vrfy"
SERVICES: Mapping[str, Mapping[str, str]] = {
    PLAIN: {},
    OTHER: {},
    BARE: {"smtpd_discard_ehlo_keywords": _NOTHING, "smtpd_forbid_unauth_pipelining": "yes"},
    STRICT: {"smtpd_hard_error_limit": "3", "smtpd_error_sleep_time": "0"},
    CROWDED: {"smtpd_client_connection_count_limit": "2"},
    IMPATIENT: {"smtpd_timeout": "1s"},
    TLS: _TLS,
    TLS_OTHER: _TLS,
    TLS_REQUIRED: {"smtpd_tls_security_level": "encrypt"},
    TLS_EXPIRED: {**_TLS, "smtpd_tls_chain_files": "/etc/postfix/expired.pem"},
    TLS_WRONG_NAME: {**_TLS, "smtpd_tls_chain_files": "/etc/postfix/wrong-name.pem"},
    TLS_UNTRUSTED: {**_TLS, "smtpd_tls_chain_files": "/etc/postfix/untrusted.pem"},
    TLS_OLD: {**_TLS, "smtpd_tls_protocols": "TLSv1", "tls_medium_cipherlist": "ALL:@SECLEVEL=0"},
    LOGIN_ANY: {**_TLS, **_LOGIN, "smtpd_tls_auth_only": "yes"},
    LOGIN_CLEAR: _LOGIN,
    LOGIN_PLAIN: {**_TLS, **_LOGIN, "smtpd_sasl_mechanism_filter": "plain"},
    LOGIN_LOGIN: {**_TLS, **_LOGIN, "smtpd_sasl_mechanism_filter": "login"},
    LOGIN_PLAIN_CLEAR: {**_LOGIN, "smtpd_sasl_mechanism_filter": "plain"},
    LOGIN_LOGIN_CLEAR: {**_LOGIN, "smtpd_sasl_mechanism_filter": "login"},
}
"""What is different at each address from `_MAIN`."""
ADDRESSES = (*SERVICES, GREYLISTED, GREET_PAUSE)

_MAIN = {
    "compatibility_level": "3.6",
    "myhostname": HOSTNAME,
    "mydestination": "",
    "mynetworks": "",
    "alias_maps": "",
    "local_recipient_maps": "",
    "inet_protocols": "ipv4",
    "maillog_file": "/var/log/postfix.log",
    "message_size_limit": str(SIZE_LIMIT),
    "virtual_mailbox_limit": "0",
    "virtual_mailbox_domains": "regexp:/etc/postfix/domains",
    "virtual_mailbox_maps": "regexp:/etc/postfix/users",
    "virtual_mailbox_base": "/var/mail",
    "smtpd_relay_restrictions": "reject_unauth_destination",
    # A mail is stored as it came: neither addresses completed nor headers added, though the client is on this host.
    "local_header_rewrite_clients": "",
    "disable_dns_lookups": "yes",
    "smtputf8_enable": "yes",
    "smtpd_delay_reject": "no",
    "smtpd_peername_lookup": "no",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_tls_chain_files": "/etc/postfix/server.pem",
    "smtpd_tls_loglevel": "1",
    "smtpd_tls_received_header": "yes",
    "smtpd_sasl_type": "dovecot",
    # The greet pause; a client it does not know yet is told to come back, as greylisting does.
    "postscreen_greet_wait": "2s",
    "postscreen_greet_action": "enforce",
    "postscreen_pipelining_enable": "yes",
    "postscreen_pipelining_action": "enforce",
    "postscreen_non_smtp_command_enable": "yes",
    "postscreen_bare_newline_enable": "yes",
    "postscreen_access_list": "",
    "postscreen_cache_map": "btree:/var/lib/postfix/postscreen",
}
_INTERNAL = """\
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
  -o virtual_mailbox_maps=regexp:/etc/postfix/mailboxes
anvil     unix  - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix(JailedServer):
    """Takes mail for ``NAME@ANYTHING.postfix.test`` where the local part begins with ``u``; knows no other users.

    What is for ``u-bounce…`` it accepts and then fails to deliver.

    At the ``LOGIN_…`` addresses and at `submissions` it takes mail only after a login.

    Attributes:
        port: Of every address but one.
        submissions: Address where it speaks TLS from the first octet, on port 465.
    """

    package = "postfix"
    users = ("postfix", "postdrop", "nobody", "vmail")

    def __init__(self, port: int, certificates: Certificates, sasl_path: str, greylist: str = "") -> None:
        """``sasl_path`` is ``inet:IP:PORT`` of a Dovecot, ``greylist`` of a policy service or nothing."""
        super().__init__()
        self.port = port
        self.submissions = free_address(SUBMISSIONS_PORT)
        self._certificates = certificates
        self._sasl_path = sasl_path
        self._greylist = greylist

    @property
    def log(self) -> str:
        """What it has logged so far."""
        path = self.jail.root / "var/log/postfix.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def messages(self) -> tuple[bytes, ...]:
        """Everything delivered, oldest first, lines ended by LF."""
        return read_maildir(self.jail.root / "var/mail/all")

    def certificate(self, name: str) -> str:
        """PEM of ``server``, ``expired``, ``wrong-name`` or ``untrusted``."""
        return (self.jail.root / f"etc/postfix/{name}.pem").read_text(encoding="ascii")

    def configure(self) -> None:
        """Configuration, queue folders, mailbox folder."""
        write = self.jail.write
        uid = self.jail.uids["vmail"]
        main = {**_MAIN, "virtual_uid_maps": f"static:{uid}", "virtual_gid_maps": f"static:{uid}"}
        main["smtpd_sasl_path"] = self._sasl_path
        if has_ipv6():
            main["inet_protocols"] = "all"
        write("etc/postfix/main.cf", "".join(f"{name} = {value}\n" for name, value in main.items()))
        write("etc/postfix/master.cf", self._services() + _INTERNAL)
        write("etc/postfix/domains", "/\\.(postfix|signed|unsigned)\\.test$/ yes\n")
        write("etc/postfix/users", "/^u.*@/ all/\n")
        # Accepted, and then found to have no mailbox.
        write("etc/postfix/mailboxes", "if !/^u-bounce/\n/^u.*@/ all/\nendif\n")
        issue = self._certificates
        for name, pem in {
            "server": issue.issue(*NAMES),
            "expired": issue.issue_expired(*NAMES),
            "wrong-name": issue.issue("elsewhere.test"),
            "untrusted": issue.issue_untrusted(*NAMES),
        }.items():
            write(f"etc/postfix/{name}.pem", pem, mode=0o600)
        self._make_folders()

    def _services(self) -> str:
        lines = [f"{GREET_PAUSE}:{self.port} inet n - n - 1 postscreen\n", "smtpd pass - - n - - smtpd\n"]
        for address, options in SERVICES.items():
            lines += _service(address, self.port, options)
        asking = {"smtpd_recipient_restrictions": f"check_policy_service,{self._greylist}"}
        lines += _service(GREYLISTED, self.port, asking if self._greylist else {})
        if has_ipv6():
            lines += _service(f"[{IPV6}]", self.port, {})
        wrapped = {**_LOGIN, "smtpd_tls_wrappermode": "yes", "smtpd_tls_security_level": "encrypt"}
        lines += _service(self.submissions, SUBMISSIONS_PORT, wrapped)
        return "".join(lines)

    def _make_folders(self) -> None:
        folder = self.jail.folder
        folder("var/log")
        folder("var/mail", "vmail")
        folder("var/lib/postfix", "postfix", mode=0o700)
        folder("var/spool/postfix")
        for name in QUEUES:
            folder(f"var/spool/postfix/{name}", "postfix", mode=0o700)
        folder("var/spool/postfix/pid", mode=0o755)
        folder("var/spool/postfix/maildrop", "postfix", mode=0o730)
        folder("var/spool/postfix/public", "postfix", mode=0o710)

    def command(self) -> Sequence[str]:
        """The master process, which starts all others."""
        return [MASTER, "-d"]

    def is_ready(self) -> bool:
        """Whether every service listens."""
        return all(is_listening(address, self.port) for address in ADDRESSES)


def _service(address: str, port: int, options: Mapping[str, str]) -> list[str]:
    return [f"{address}:{port} inet n - n - - smtpd\n", *(f"  -o {name}={value}\n" for name, value in options.items())]
