# SPDX-License-Identifier: MIT
"""Connections from the command line: `python -m across --help`."""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Optional

from . import __version__, set_debug_level
from ._connection import Connection
from ._errors import DisconnectError, ProtocolError, describe_error
from ._options import Options
from .channels.pipes import StdioChannel
from .servers import ProcessConnectionHandler, run_tcp, run_unix
from .serving.served import ServedConnection, Stopper, signals_call

_NOT_COMPATIBLE = 'is not compatible with remote 0.1.'  # in the error about a peer that runs across 0.1
_CLOSED = 'Connection was remotely closed'  # in an orderly way, and without a reason


def _parse_tcp(text: str) -> tuple[str, str, int]:
    host, colon, port = text.rpartition(':')
    in_brackets = host.startswith('[') and host.endswith(']')
    if in_brackets:
        host = host[1:-1]
    is_host = _is_ipv6(host) if in_brackets else bool(host) and not set(host) & set('[]: \t\n')
    if not (colon and is_host and port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        text = 'invalid value: {!r}, not HOST:PORT, or [ADDRESS]:PORT with an IPv6 address'.format(text)
        raise argparse.ArgumentTypeError(text)
    return 'tcp', host, int(port)


def _is_ipv6(text: str) -> bool:
    """Whether this is an address, which may end with a scope: `fe80::1%eth0`."""
    address, percent, scope = text.partition('%')
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):
        return False
    return bool(scope) or not percent


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m across', description='Connects to another Python process, or serves connections.'
    )
    parser.add_argument('--version', action='version', version=__version__)
    parser.add_argument(
        '-v', action='count', default=0, dest='verbose', help='log to standard error; -vv logs everything'
    )
    where = parser.add_argument_group('where').add_mutually_exclusive_group(required=True)
    where.add_argument('--tcp', metavar='HOST:PORT', type=_parse_tcp, dest='address', help='TCP')
    where.add_argument(
        '--unix',
        metavar='PATH',
        type=lambda path: ('unix', path),
        dest='address',
        help='a unix domain socket; @NAME: an abstract one',
    )
    where.add_argument(
        '--stdio', action='store_const', const=('stdio',), dest='address', help='standard input and output'
    )
    parser.add_argument(
        '--secret-file', metavar='FILE', help='the secret that both sides of a TCP connection have to know'
    )
    what = parser.add_argument_group('what').add_mutually_exclusive_group(required=True)
    what.add_argument('--execute', metavar='CODE', help='execute Python code at the other side, and print its value')
    what.add_argument('--wait', action='store_true', help='serve the other side until it closes the connection')
    what.add_argument(
        '--server', action='store_true',
        help='listen, and serve each connection in a process of its own; whoever can connect can run any code',
    )  # fmt: skip
    return parser


def _make_connection(args: argparse.Namespace, waits: bool, options: Options) -> Connection:
    address = args.address
    if address[0] == 'tcp':
        return Connection.from_tcp(*address[1:], secret_file=args.secret_file, options=options)
    if address[0] == 'unix':
        return Connection.from_unix(address[1], options=options)
    # Who started this process speaks first, in the version that it speaks.
    return (ServedConnection if waits else Connection)(StdioChannel(), options=options)


def _connect(args: argparse.Namespace, stopper: Optional[Stopper] = None) -> Connection:
    """Return a connection that is made, in the version of the protocol that the other side speaks.

    The stopper, for those who wait, gets the connection while it is being made.
    """

    def connect(options: Options) -> Connection:
        conn = _make_connection(args, stopper is not None, options)
        if stopper is not None:
            stopper.conn = conn
        return conn.__enter__()

    try:
        return connect(Options())
    except (ProtocolError, EOFError, ConnectionResetError, BrokenPipeError) as error:
        # Plain across 0.1 hangs up on 0.2, sometimes before it has said what it is.
        if args.address[0] == 'stdio' or (isinstance(error, ProtocolError) and _NOT_COMPATIBLE not in str(error)):
            raise
    return connect(Options(protocol_version=(0, 1)))


def _execute(args: argparse.Namespace) -> int:
    try:
        conn = _connect(args)
    except Exception as error:
        return _fail('cannot connect', error)
    with conn:
        try:
            value = conn.execute(args.execute)
        except DisconnectError as error:
            with contextlib.suppress(Exception):  # what broke it, which this error tells
                conn.close()
            return _fail('the connection broke', error)
        except KeyboardInterrupt:
            conn.cancel()
            raise
        if value is not None:
            print(value)
    return 0


def _wait(args: argparse.Namespace) -> int:
    stopper = Stopper()
    with signals_call(stopper):
        try:
            _connect(args, stopper)
        except Exception as error:
            stopper.join()
            # The other side may have closed the connection before this one had a look at it.
            was_closed = isinstance(error, DisconnectError) and str(error) == _CLOSED
            return 0 if stopper.was_called() or was_closed else _fail('cannot connect', error)
        try:
            stopper.wait_for_end()
        except Exception as error:
            return _fail('the connection broke', error)
    return 0


def _serve(args: argparse.Namespace) -> int:
    handler = ProcessConnectionHandler(options=Options(accept_exported_modules=True))
    try:
        if args.address[0] == 'tcp':
            run_tcp(*args.address[1:], handler=handler, secret_file=args.secret_file)
        else:
            run_unix(args.address[1], handler=handler)
    except (OSError, ValueError) as error:
        return _fail('cannot serve', error)
    return 0


def _fail(what: str, error: BaseException) -> int:
    print('across: {}: {}'.format(what, describe_error(error)), file=sys.stderr)
    return 1


def main(args: Optional[Sequence[str]] = None) -> int:
    """Run the program with these arguments; return its exit status."""
    parser = _make_parser()
    options = parser.parse_args(args)
    if options.server and options.address[0] == 'stdio':
        parser.error('--server cannot listen on standard input and output; what you want may be --wait')
    if options.secret_file is not None and options.address[0] != 'tcp':
        parser.error('--secret-file is for --tcp')
    set_debug_level(min(options.verbose, 2))
    try:
        return (_serve if options.server else _wait if options.wait else _execute)(options)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == '__main__':
    sys.exit(main())
