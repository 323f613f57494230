# SPDX-License-Identifier: MIT
"""A server of the plain package across: `plain_server.py unix PATH`, `tcp` or `stdio`.

The first two print where they listen, and end with SIGINT. The last serves the one that started it.
"""

import signal
import socket
import sys

import across
import across.servers


class AnnouncedSocket(socket.socket):
    """Prints its address when a client can connect."""

    def listen(self, *args):
        super().listen(*args)
        name = self.getsockname()
        print('unix:' + name if isinstance(name, str) else 'tcp:{}:{}'.format(*name), flush=True)


def main(kind, *args):
    if kind == 'stdio':
        with across.Connection.from_stdio() as conn:
            conn.wait()
        return
    # It may have been ignored by the parent process.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    across.servers._open_socket = AnnouncedSocket
    handler = across.servers.LocalConnectionHandler()
    if kind == 'unix':
        across.servers.run_unix(*args, handler=handler)
    else:
        across.servers.run_tcp('127.0.0.1', 0, handler=handler)


if __name__ == '__main__':
    main(*sys.argv[1:])
