# SPDX-License-Identifier: MIT
"""Fixtures of the package's tests: the real engine, both ends in this process."""

import socket
import threading

import pytest

import across


@pytest.fixture
def make_pair():
    """Makes connections over socket pairs, both ends in this process; what is still open at the end is cancelled."""
    made = []

    def make(**options):
        pair = [across.Connection.from_socket(s, options=across.Options(**options)) for s in socket.socketpair()]
        made.extend(pair)
        return pair

    yield make
    for conn in made:
        conn.cancel()
        try:
            conn.close()
        except Exception:  # the tests check for errors where they expect them
            pass


@pytest.fixture
def conn(make_pair):
    return make_pair()[0]


@pytest.fixture
def run_thread():
    """Starts functions in threads, and joins them at the end."""
    threads = []

    def run(func):
        thread = threading.Thread(target=func, daemon=True)
        thread.start()
        threads.append(thread)
        return thread

    yield run
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
