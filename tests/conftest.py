# SPDX-License-Identifier: MIT
"""What holds for all tests that are written in Python."""

import across


def pytest_report_header():
    return 'across: the {} engine, from {}'.format(across.engine, across.__path__[0])
