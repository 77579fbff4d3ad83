"""Dovecot as what Postfix asks about names and passwords; it serves no mailboxes here."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from tests.support.ports import free_port
from tests.support.processes import is_listening
from tests.support.receivers.jail import JailedServer

LOGIN = ("anna", "s3cret pass")
INTERNATIONAL = ("jürgen", "pässwörd €")
HASHED = ("hans", "only its hash is known")
"""CRAM-MD5 needs the password itself, so for this user it fails although the password is right."""

_CONFIGURATION = """\
base_dir = /run/dovecot
state_dir = /run/dovecot
log_path = /var/log/dovecot.log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = cram-md5 plain login
auth_failure_delay = 0
auth_username_chars =
auth_verbose = yes
first_valid_uid = 1
passdb {{
  driver = passwd-file
  args = /etc/dovecot/users
}}
userdb {{
  driver = static
  args = uid=vmail gid=vmail home=/var/empty
}}
service auth {{
  inet_listener sasl {{
    address = {address}
    port = {port}
  }}
}}
# Failures of one test would slow the others down: all come from one address.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


class Dovecot(JailedServer):
    """Knows the users of this module.

    Attributes:
        address, port: Where it answers Postfix.
    """

    package = "dovecot-core"
    users = ("dovecot", "dovenull", "vmail")
    address = "127.0.0.1"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port(self.address)

    @property
    def sasl_path(self) -> str:
        """Postfix's ``smtpd_sasl_path``."""
        return f"inet:{self.address}:{self.port}"

    def configure(self) -> None:
        """Configuration and users."""
        text = _CONFIGURATION.format(address=self.address, port=self.port)
        self.jail.write("etc/dovecot/dovecot.conf", text)
        clear = "".join(f"{name}:{{PLAIN}}{password}\n" for name, password in (LOGIN, INTERNATIONAL))
        digest = base64.b64encode(hashlib.sha256(HASHED[1].encode()).digest()).decode()
        self.jail.write("etc/dovecot/users", f"{clear}{HASHED[0]}:{{SHA256}}{digest}\n")
        self.jail.folder("run/dovecot")
        self.jail.folder("var/log")

    def command(self) -> Sequence[str]:
        """In the foreground."""
        return ["/usr/sbin/dovecot", "-F"]

    def is_ready(self) -> bool:
        """Whether Postfix can ask it."""
        return is_listening(self.address, self.port)
