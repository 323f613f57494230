# SPDX-License-Identifier: MIT
"""A server that uses across.servers: `server.py HANDLER unix PATH`, or `tcp HOST`; further words change options.

It logs to standard error, and prints a line when it has ended in an orderly way.
"""

import sys
import threading

import across
import across.servers as servers


class Refusing(servers.ConnectionHandler):
    """Serves nobody, and says so."""

    def handle_socket(self, sock):
        raise KeyError('nobody')

    def close(self):
        print('closed', flush=True)


def close_on_input(handler):
    """Close the handler when standard input ends: servers have to notice."""
    sys.stdin.read()
    handler.close()


def main(name, kind, where, *settings):
    across.set_debug_level(1)
    options = across.Options()
    for setting in settings:
        field, _, value = setting.partition('=')
        setattr(options, field, float(value))
    if name == 'Refusing':
        handler = Refusing()
    elif name == 'none':
        handler = None
    else:
        handler = getattr(servers, name)(options=options)
        threading.Thread(target=close_on_input, args=(handler,), daemon=True).start()
    if kind == 'unix':
        servers.run_unix(where, handler=handler)
    else:
        servers.run_tcp(where, 0, handler=handler)
    print('returned', flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
