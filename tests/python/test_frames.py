# SPDX-License-Identifier: MIT
"""Called functions find a Python frame below them, as in a program."""

from __future__ import annotations

import socket
import sys

import across


def caller_is_there() -> bool:
    return sys._getframe(1).f_code is not None


def test_functions_that_look_at_their_callers_frame_work() -> None:
    here, there = (across.Connection.from_socket(end) for end in socket.socketpair())
    with here, there:
        assert here.call(eval, '1 + 1') == 2
        assert here.call(caller_is_there)
