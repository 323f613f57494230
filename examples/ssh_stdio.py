# SPDX-License-Identifier: MIT
"""Calls functions on a host where ssh leads and acrossd is installed; no port is opened there.

Usage: python3 examples/ssh_stdio.py HOST           (ssh HOST acrossd --stdio)
       python3 examples/ssh_stdio.py -- COMMAND...  (any command that ends in acrossd --stdio, also a local one)
"""

from __future__ import annotations

import os
import platform
import sys

import across


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] == '--':
        command = sys.argv[2:]
    elif len(sys.argv) == 2 and not sys.argv[1].startswith('-'):
        command = ['ssh', sys.argv[1], 'acrossd', '--stdio']
    else:
        sys.exit('usage: ssh_stdio.py HOST | ssh_stdio.py -- COMMAND...')

    with across.Connection.from_command(command) as conn:
        print(f'{conn.call(platform.node)} runs Python {conn.call(platform.python_version)}')
        print(f'it has {conn.call(os.cpu_count)} processors, its load is {conn.call(os.getloadavg)[0]:.2f}')


if __name__ == '__main__':
    main()
