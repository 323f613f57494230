# SPDX-License-Identifier: MIT
"""
Null calls for instructions.py: null_calls.py ROLE PATH BATCHES COUNT.

The end that is counted calls os.getsid() before the calls that count, and os.getpgid() behind each batch of COUNT: the
profiler looks for these. Roles: client; marker, a client that has the server call them; server.
"""

import os
import socket
import sys

import across

WARM_UP = 200


def client(path, batches, count, mark):
    with across.Connection.from_unix(path) as conn:
        for _ in range(WARM_UP):
            conn.call(len, '')
        mark(conn, os.getsid)
        for _ in range(batches):
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
    role, path, *counts = sys.argv[1:]
    batches, count = map(int, counts)
    if role == 'server':
        serve(path)
    elif role == 'client':
        client(path, batches, count, lambda conn, func: func(0))
    else:
        client(path, batches, count, lambda conn, func: conn.call(func, 0))


main()
