# SPDX-License-Identifier: MIT
"""A server of whichever package across there is, with a process for each connection: `matrix_server.py PATH`.

SIGINT ends it.
"""

import signal
import sys

import across
from across.servers import ProcessConnectionHandler, run_unix

if __name__ == '__main__':
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may have been ignored by the parent process
    run_unix(sys.argv[1], handler=ProcessConnectionHandler(options=across.Options(accept_exported_modules=True)))
