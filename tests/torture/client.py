# SPDX-License-Identifier: MIT
"""A client in a process of its own: `client.py all PATH` or `client.py killed PATH`.

Exits with 0 when all went well, with 1 after an error that a client may see, if a second attempt worked.
"""

import gc
import os
import signal
import sys

from e2e import remote_tasks as tasks

import across

ERRORS = (across.OperationError, across.DisconnectError, across.ProtocolError, EOFError, OSError, MemoryError)
SIZE = 8 * 1024 * 1024


def play(path):
    """A bit of everything."""
    seen = []
    with across.Connection.from_unix(path) as conn:
        assert conn.call(pow, 2, 10) == 1024
        assert conn.call(tasks.call_back, across.Local(seen.append), 5) is None
        assert seen == [5]
        items = conn.create(list, [1, 2])
        items.append(3)
        assert list(items.copy()) == [1, 2, 3]
        del items
        data = bytes(SIZE)
        assert conn.call(tasks.echo, data) == data


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def main():
    what, path = sys.argv[1:]
    if what == 'killed':
        with across.Connection.from_unix(path) as conn:
            conn.call(tasks.call_back, across.Local(die))
        return 2
    try:
        play(path)
        return 0
    except ERRORS as error:
        print('acrossd: the client got {!r}'.format(error), file=sys.stderr)
    gc.collect()  # the connection, to which the error's traceback led
    play(path)
    return 1


if __name__ == '__main__':
    sys.exit(main())
