# SPDX-License-Identifier: MIT
"""
Null calls for instructions.py: null_calls.py ROLE PATH COUNT.

The end that is counted calls os.getsid() before the calls that count and os.getpgid() behind them: the profiler looks
for these. Roles: client; marker, a client that has the server call them; server.
"""

import os
import socket
import sys

import across

WARM_UP = 200


def client(path, count, mark):
    with across.Connection.from_unix(path) as conn:
        for _ in range(WARM_UP):
            conn.call(len, '')
        mark(conn, os.getsid)
        for _ in range(count):
            conn.call(len, '')
        mark(conn, os.getpgid)


def serve(path):
    """One connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        accepted, _ = listener.accept()
    conn = across.Connection.from_socket(accepted)
    conn.wait()
    conn.close()


def main():
    role, path, count = sys.argv[1:]
    if role == 'server':
        serve(path)
    elif role == 'client':
        client(path, int(count), lambda conn, func: func(0))
    else:
        client(path, int(count), lambda conn, func: conn.call(func, 0))


main()
