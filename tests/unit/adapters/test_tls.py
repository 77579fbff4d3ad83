"""Contexts and what becomes of the library's errors; handshakes are tested over sockets."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from relayq.adapters.tls import TlsClient, TlsOptions, _failure, make_context, peer_chain, sni_name, subject_names
from relayq.policy.tls import SecurityLevel, demand_tls
from relayq.ports import TlsError, TlsFailureKind
from tests.support.tls import ca_file, shake_hands, trusted, with_root


def error_with(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] something")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("WRONG_VERSION_NUMBER", TlsFailureKind.NOT_TLS),
        ("HTTP_REQUEST", TlsFailureKind.NOT_TLS),
        ("PACKET_LENGTH_TOO_LONG", TlsFailureKind.NOT_TLS),
        ("UNEXPECTED_MESSAGE", TlsFailureKind.NOT_TLS),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", TlsFailureKind.REFUSED),
        ("TLSV1_ALERT_PROTOCOL_VERSION", TlsFailureKind.REFUSED),
        ("UNSUPPORTED_PROTOCOL", TlsFailureKind.REFUSED),
        ("DH_KEY_TOO_SMALL", TlsFailureKind.REFUSED),
        ("SOMETHING_NEW", TlsFailureKind.REFUSED),
    ],
)
def test_what_the_librarys_reasons_mean(reason: str, kind: TlsFailureKind) -> None:
    assert _failure(error_with(reason)).kind is kind


def test_an_end_in_the_middle_is_a_loss() -> None:
    assert _failure(ssl.SSLEOFError(8, "EOF occurred")).kind is TlsFailureKind.LOST
    assert _failure(ssl.SSLZeroReturnError(6, "closed")).kind is TlsFailureKind.LOST


@pytest.mark.parametrize(("code", "kind"), [(9, "EXPIRED"), (10, "EXPIRED"), (18, "CERTIFICATE"), (20, "CERTIFICATE")])
def test_dates_are_told_from_other_faults_of_a_certificate(code: int, kind: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "why"
    failure = _failure(error)
    assert failure.kind is TlsFailureKind[kind]
    assert str(failure) == "certificate refused: why"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "1.3"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_context_keeps_to_its_policy(version: str, verify: bool) -> None:
    context = make_context(TlsOptions(min_version=version), verify=verify)
    assert context.minimum_version == getattr(ssl.TLSVersion, f"TLSv1_{version[2]}".removesuffix("_0"))
    assert context.verify_mode is (ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
    assert context.options & ssl.OP_NO_COMPRESSION
    names = [suite["name"] for suite in context.get_ciphers()]
    assert not [name for name in names if "NULL" in name or "ADH" in name or "AECDH" in name or "EXP" in name]


def test_a_file_of_roots_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="No such file"):
        make_context(TlsOptions(ca_file="/nowhere/ca.pem"), verify=True)


async def test_contexts_are_built_once() -> None:
    client = TlsClient(TlsOptions(), asyncio.get_running_loop())
    assert client.context(verify=True) is client.context(verify=True)
    assert client.context(verify=False) is not client.context(verify=True)


@pytest.mark.parametrize("host", ["mx.test", "a", "_mx.test", "xn--bcher-kva.test", "a1.b2"])
def test_names_to_ask_for(host: str) -> None:
    assert sni_name(host) == host


NO_NAMES = [
    "", "192.0.2.1", "2001:db8::1", "[192.0.2.1]", "a..b", ".a", "a.", "a" * 64 + ".b", "a b", "ä.test",
    "a." * 130 + "b", "mx.test\n", "1", "x.1",
]  # fmt: skip


@pytest.mark.parametrize("host", NO_NAMES)
def test_what_is_no_name_is_not_asked_for(host: str) -> None:
    assert sni_name(host) is None


def test_only_alternative_names_count() -> None:
    shown: dict[str, Any] = {
        "subject": ((("commonName", "cn.test"),),),
        "subjectAltName": (("DNS", "a.test"), ("IP Address", "192.0.2.1"), ("email", "x@b.test"), ("URI", "c.test")),
    }
    assert subject_names(shown) == ("a.test", "192.0.2.1")
    assert subject_names({}) == ()


def test_the_chain_a_peer_presents() -> None:
    alone, whole = shake_hands(trusted()), shake_hands(with_root("mx.test"))
    assert len(peer_chain(alone)) == 1
    chain = peer_chain(whole)
    assert len(chain) == 2
    assert chain[0] == whole.getpeercert(binary_form=True)


async def test_a_connection_that_is_closing_is_not_upgraded() -> None:
    class Closing:
        def is_closing(self) -> bool:
            return True

    client = TlsClient(TlsOptions(ca_file=ca_file()), asyncio.get_running_loop())
    transport: Any = Closing()
    with pytest.raises(TlsError) as caught:
        await client.start_tls(transport, asyncio.Protocol(), demand_tls(SecurityLevel.REQUIRED, "mx.test", None))
    assert caught.value.kind is TlsFailureKind.LOST
