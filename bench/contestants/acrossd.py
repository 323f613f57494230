# SPDX-License-Identifier: MIT
"""
acrossd as it is built here, with a worker process for each connection and one spare worker.

Modes 'shared' and 'idle': one worker for all connections.
"""

import os
import time

from .across_peer import AcrossContestant


class Contestant(AcrossContestant):
    name = 'acrossd'

    def command(self, address, mode):
        command = [os.environ['BENCH_ACROSSD'], '--venv', os.environ['BENCH_VENV']]
        if address == 'stdio':
            return [*command, '--stdio']
        return [*command, '--listen', address, '--isolation', 'process' if mode in ('usual', 'own') else 'shared']

    def pause_before_connect(self):
        time.sleep(0.03)  # a spare worker is forked in less
