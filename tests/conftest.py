# SPDX-License-Identifier: MIT
"""What holds for all tests that are written in Python."""

import signal

import across

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background passes on as ignored


def pytest_report_header():
    return 'across: the {} engine, from {}'.format(across.engine, across.__path__[0])
