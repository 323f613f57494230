# SPDX-License-Identifier: MIT
"""What a host that has nothing but Python runs to become a peer: it asks for this package, and executes the answer.

docs/protocol.md ("A bare Python") describes the conversation, exports/bootstrap.py makes the answer.
"""

from __future__ import annotations

# Without double quotes, dollar signs and the like, so that a shell leaves it as it is. It reads no more bytes than it
# has to: what follows belongs to the connection.
_BIOS = (
    "import os;ACROSS='stdio',;exec('def read(size):\\n data = bytes()\\n while len(data) < size: data += "
    'os.read(0, size - len(data)) or os._exit(1)\\n return data\\n'
    'os.write(1, bytes([229, 78, 109, 1, 0, 1] + [0] * 10))\\n'
    "exec(read(int(read(20)[16:].hex(), 16)))')"
)


def get_bios() -> str:
    """Return source for a bare Python: a line to be run as `python3 -c SOURCE` on a host with Python 3.9 or later.

    It asks the other end of its standard input and output for this package, and serves a connection there: exported
    modules are accepted. Nothing is written to the host's disk. For example:

        Connection.from_command(['ssh', host, 'python3', '-c', shlex.quote(get_bios())])
    """
    return _BIOS


get_bios.__module__ = 'across'
