"""Postfix as a smarthost that wants a login, with Dovecot behind it."""

from __future__ import annotations

import pytest

from tests.integration.receivers.contents import as_stored, compose
from tests.integration.receivers.deliveries import SMALL, arrived, deliver
from tests.support.receivers import postfix
from tests.support.receivers.dovecot import HASHED, INTERNATIONAL, LOGIN
from tests.support.receivers.postfix import Postfix
from tests.support.receivers.sender import Result, Sender

WRONG = ("mallory", "wrong secret")


def send_through(sender: Sender, server: Postfix, address: str, login: tuple[str, str] | None, case: str) -> Result:
    smarthost: dict[str, object] = {"hostname": address, "port": server.port}
    if login is not None:
        smarthost |= {"username": login[0], "password": login[1]}
    return deliver(sender, "u@far.postfix.test", case, smarthost=smarthost, maxattempts=1)


def login_of(server: Postfix, case: str) -> tuple[str, str]:
    """Mechanism and user of the session a message came over, and whether it came intact."""
    added, content = arrived(server, case)
    assert content == as_stored(compose(case, SMALL))
    queue_id = added["received"].split(" id ")[1].split()[0].rstrip(";")
    (line,) = [line for line in server.log.splitlines() if f" {queue_id}: client=" in line]
    fields = dict(field.split("=", 1) for field in line.split(": client=")[1].split(", ")[1:])
    return fields["sasl_method"], fields["sasl_username"]


@pytest.mark.parametrize(
    ("address", "login", "mechanism"),
    [
        (postfix.LOGIN_ANY, LOGIN, "CRAM-MD5"),
        (postfix.LOGIN_ANY, INTERNATIONAL, "CRAM-MD5"),
        (postfix.LOGIN_ANY, HASHED, "PLAIN"),
        (postfix.LOGIN_PLAIN, LOGIN, "PLAIN"),
        (postfix.LOGIN_PLAIN, INTERNATIONAL, "PLAIN"),
        (postfix.LOGIN_LOGIN, LOGIN, "LOGIN"),
        (postfix.LOGIN_LOGIN, INTERNATIONAL, "LOGIN"),
        (postfix.LOGIN_CLEAR, LOGIN, "CRAM-MD5"),
    ],
)
def test_logs_in(address: str, login: tuple[str, str], mechanism: str, sender: Sender, postfix_server: Postfix) -> None:
    case = f"login-{address}-{login[0].encode().hex()}"
    result = send_through(sender, postfix_server, address, login, case)
    assert (result.queue, result.end, result.last["to"]) == ("success", "message/accepted 250", address)
    assert login_of(postfix_server, case) == (mechanism, login[0])
    assert login[1] not in sender.relayq.log


@pytest.mark.parametrize(
    ("address", "mechanism"), [(postfix.LOGIN_PLAIN_CLEAR, "PLAIN"), (postfix.LOGIN_LOGIN_CLEAR, "LOGIN")]
)
def test_clear_password_where_allowed(
    address: str, mechanism: str, daring_sender: Sender, postfix_server: Postfix
) -> None:
    case = f"login-clear-{mechanism}"
    assert send_through(daring_sender, postfix_server, address, LOGIN, case).queue == "success"
    assert login_of(postfix_server, case) == (mechanism, LOGIN[0])


@pytest.mark.parametrize("address", [postfix.LOGIN_PLAIN_CLEAR, postfix.LOGIN_LOGIN_CLEAR, postfix.PLAIN])
def test_no_usable_mechanism(address: str, sender: Sender, postfix_server: Postfix) -> None:
    """Only passwords in clear, or no AUTH at all: nothing is sent, least of all the password."""
    result = send_through(sender, postfix_server, address, LOGIN, "login-none")
    assert (result.queue, result.end) == ("failure", "authplain/error")
    assert "description" not in result.last


@pytest.mark.parametrize(
    ("address", "end"),
    [
        (postfix.LOGIN_ANY, "authplain/error 535"),
        (postfix.LOGIN_PLAIN, "authplain/error 535"),
        (postfix.LOGIN_LOGIN, "authpassword/error 535"),
        (postfix.LOGIN_CLEAR, "authresponse/error 535"),
    ],
)
def test_wrong_password(address: str, end: str, sender: Sender, postfix_server: Postfix) -> None:
    result = send_through(sender, postfix_server, address, WRONG, "login-wrong")
    assert (result.queue, result.end, result.last["status"]) == ("failure", end, "5.7.8")
    assert WRONG[1] not in sender.relayq.log


def test_wrong_password_is_tried_again(sender: Sender, postfix_server: Postfix) -> None:
    smarthost = {"hostname": postfix.LOGIN_LOGIN, "port": postfix_server.port, "username": "nobody", "password": "x"}
    result = deliver(sender, "u@far.postfix.test", "login-again", smarthost=smarthost)
    assert (result.queue, result.end) == ("retry", "authpassword/error 535")


def test_without_login(sender: Sender, postfix_server: Postfix) -> None:
    result = send_through(sender, postfix_server, postfix.LOGIN_ANY, None, "login-missing")
    assert (result.queue, result.end) == ("failure", "rcptto/error 554")


def test_users_do_not_share_connections(sender: Sender, postfix_server: Postfix) -> None:
    logins = (LOGIN, INTERNATIONAL, LOGIN)
    for number, login in enumerate(logins):
        case = f"login-shared-{number}"
        assert send_through(sender, postfix_server, postfix.LOGIN_PLAIN, login, case).queue == "success"
        assert login_of(postfix_server, case) == ("PLAIN", login[0])
