# SPDX-License-Identifier: MIT
"""The engine in Python alone, for where the extension module is missing, and for hosts that have nothing but Python.

docs/engine.md says what an engine offers, docs/protocol.md what is sent, docs/engines.md how this engine differs from
the native one. It needs the standard library and nothing else, not even the package: `install` gives it what it needs
of that.

One thread, the loop, reads and writes the streams of all links, and it alone uses their sessions. Other threads give it
tasks and wait for the outcome. So nothing that a link knows needs a lock, and a KeyboardInterrupt, which interrupts the
main thread anywhere, leaves nothing half done. Calls of the peers run in threads of the executor.

    wire        frames, heads and messages
    session     the protocol: bytes and commands in, bytes and messages out. No thread, no stream
    stream      two descriptors
    objects     what the peer may refer to, and in which order it may be dropped
    calls       calls in both directions
    executor    threads for calls
    loop        the thread that drives everything
    engine      the loop and the executor of this process
    scope       which link a thread works for, and what pickles ask of it
    link        one connection, as the package sees it
"""

from .engine import shut_down, spawn
from .hooks import install
from .link import Link
from .scope import Handle, claim, current, lookup, pickling, register

name = 'pure'

__all__ = [
    'Handle', 'Link', 'claim', 'current', 'install', 'lookup', 'name', 'pickling', 'register', 'shut_down', 'spawn',
]  # fmt: skip
