# SPDX-License-Identifier: MIT
"""A small scale of the soak: connections, calls and proxies leave nothing behind."""

import pytest

from . import soak
from .waiting import SLACK

SCALE = 0.002


@pytest.mark.more
@pytest.mark.skipif(SLACK > 1, reason='AddressSanitizer keeps what is freed')
def test_memory_descriptors_and_processes_return_to_where_they_were(isolation, tmp_path):
    soak.check(soak.run(isolation, soak.work_of(SCALE), str(tmp_path)))
