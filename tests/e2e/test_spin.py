# SPDX-License-Identifier: MIT
"""Threads that poll before they sleep, and threads that don't: both get their answers."""

import threading

import pytest

import across

from . import remote_tasks as tasks
from .waiting import join

SPINS = [0, 1, 1000]


@pytest.fixture(params=SPINS)
def spinning(request, make_daemon):
    """A connection whose ends both poll for so many microseconds at most."""
    daemon = make_daemon('--spin', str(request.param))
    with daemon.connect(across.Options(spin=request.param)) as conn:
        yield conn


def test_calls_one_after_the_other(spinning):
    for number in range(500):
        assert spinning.call(tasks.echo, number) == number


def test_calls_of_several_threads(spinning):
    wrong = []

    def call(number):
        for _ in range(100):
            if spinning.call(tasks.echo, number) != number:
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    join(threads)
    assert not wrong


def test_calls_back(spinning):
    for number in range(100):
        assert spinning.call(tasks.call_back, across.ref(tasks.echo), number) == number


def test_large_values(spinning):
    value = bytes(8 << 20)
    for _ in range(3):
        assert spinning.call(tasks.echo, value) == value
