"""From an endpoint to an open AMQP connection: TCP, TLS, login, within one time limit."""

from __future__ import annotations

import asyncio
import ssl

from relayq.adapters.rabbitmq.connection import AmqpConnection
from relayq.adapters.rabbitmq.errors import ConnectionLostError, ConnectionRefusedByBrokerError
from relayq.adapters.rabbitmq.options import Endpoint


class Dialer:
    """Makes connections; keeps one TLS context per endpoint, because each takes tens of milliseconds to make."""

    def __init__(self) -> None:
        self._contexts: dict[Endpoint, ssl.SSLContext] = {}

    async def connect(self, endpoint: Endpoint, name: str) -> AmqpConnection:
        """Return a connection that is logged in.

        Raises:
            ConnectionRefusedByBrokerError: Credentials, virtual host, or the certificate of either side.
            ConnectionLostError: Anything that may pass.
        """
        context = self._context(endpoint) if endpoint.tls else None
        connection = AmqpConnection(endpoint, name)
        try:
            async with asyncio.timeout(endpoint.connection_timeout):
                await connection.loop.create_connection(
                    lambda: connection,
                    endpoint.host,
                    endpoint.port,
                    ssl=context,
                    server_hostname=(endpoint.server_name or endpoint.host) if context else None,
                )
                await connection.open()
        except TimeoutError:
            text = f"{endpoint} did not answer within {endpoint.connection_timeout:g} s"
            connection.abort(text)
            raise ConnectionLostError(text) from None
        except ssl.SSLCertVerificationError as error:
            raise ConnectionRefusedByBrokerError(f"{endpoint}: {error.verify_message}") from error
        except (OSError, UnicodeError) as error:
            raise ConnectionLostError(f"{endpoint}: {error}") from error
        except BaseException:
            connection.abort("gave up")
            raise
        return connection

    def _context(self, endpoint: Endpoint) -> ssl.SSLContext:
        context = self._contexts.get(endpoint)
        if context is None:
            context = self._contexts[endpoint] = make_tls_context(endpoint)
        return context


def make_tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """TLS as the endpoint wants it.

    Raises:
        ConnectionRefusedByBrokerError: A certificate or key file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not endpoint.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if endpoint.cert_file is not None:
            # An encrypted key must fail, not ask at the terminal.
            context.load_cert_chain(endpoint.cert_file, endpoint.key_file, password="")
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, (endpoint.ca_file, endpoint.cert_file, endpoint.key_file)))
        raise ConnectionRefusedByBrokerError(f"{endpoint}: cannot use {files}: {error}") from error
    return context
