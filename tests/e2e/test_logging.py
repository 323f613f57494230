# SPDX-License-Identifier: MIT
"""Log records that are forwarded over every transport, in both directions."""

import logging
import logging.handlers
import os

import pytest

import across
import across.logging

from . import remote_tasks as tasks

NAME = 'e2e.logging'


class Collector(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def records():
    """What the logger of the tests handles in this process."""
    collector = Collector()
    logger = logging.getLogger(NAME)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.handlers[:] = [collector]
    yield collector.records
    logger.handlers.clear()


@pytest.fixture
def forwarding(conn):
    """The other process forwards its records."""
    conn.call(tasks.forward_logs, NAME)
    yield conn
    conn.call(tasks.stop_logs, NAME)


def test_a_record_arrives_before_the_call_returns(forwarding, records):
    forwarding.call(tasks.log, NAME, logging.WARNING, 'number %d of %s', 7, 'nine')
    (record,) = records
    assert (record.name, record.levelno, record.getMessage()) == (NAME, logging.WARNING, 'number 7 of nine')
    assert (record.process, record.funcName) == (forwarding.call(os.getpid), 'log')


def test_records_keep_their_order(forwarding, records):
    for number in range(20):
        forwarding.call(tasks.log, NAME, logging.DEBUG, str(number))
    assert [record.getMessage() for record in records] == [str(number) for number in range(20)]


def test_an_exception_arrives_as_text(forwarding, records):
    forwarding.call(tasks.log_exception, NAME, 'failed')
    (record,) = records
    assert record.exc_info is None
    assert 'in log_exception' in record.exc_text and record.exc_text.endswith("KeyError: 'logged'")


def test_what_cannot_be_pickled_is_told_in_words(forwarding, records):
    forwarding.call(tasks.log_extra, NAME, 'text', {'number': 5})
    forwarding.call(tasks.log_unpicklable_argument, NAME)
    forwarding.call(tasks.log_unpicklable_extra, NAME)
    extra, argument, unpicklable = records
    assert extra.number == 5
    assert argument.getMessage() == 'argument lock, 3'
    assert unpicklable.number == 5 and 'lock' in unpicklable.lock


def test_the_level_here_and_there_applies(conn, records):
    conn.call(tasks.forward_logs, NAME, logging.WARNING)
    conn.call(tasks.log, NAME, logging.INFO, 'too quiet')
    conn.call(tasks.log, NAME, logging.ERROR, 'loud enough')
    conn.call(tasks.stop_logs, NAME)
    assert [record.getMessage() for record in records] == ['loud enough']


def test_records_go_to_the_other_process(conn):
    """The logger of the same name there has a handler that keeps its records."""
    name = 'e2e.outwards'
    there = conn.call_ref(logging.handlers.BufferingHandler, 100)
    conn.execute('import logging; logging.getLogger(name).handlers[:] = [handler]', name=name, handler=there)
    logger = logging.getLogger(name)
    logger.propagate = False
    handler = across.logging.AcrossHandler(conn)
    logger.addHandler(handler)
    try:
        logger.warning('there from %d', os.getpid())
        messages = conn.execute('[record.getMessage() for record in handler.buffer]', handler=there)
        assert messages == ['there from {}'.format(os.getpid())]
    finally:
        logger.removeHandler(handler)
        conn.call(tasks.stop_logs, name)


def test_a_handler_outside_of_calls_needs_a_connection():
    with pytest.raises(ValueError):
        across.logging.AcrossHandler()


def test_records_after_the_end_are_dropped(conn, records, monkeypatch):
    errors = []
    handler = across.logging.AcrossHandler(conn)
    monkeypatch.setattr(handler, 'handleError', errors.append)
    conn.close()
    logging.getLogger(NAME).addHandler(handler)
    logging.getLogger(NAME).warning('nobody there')
    assert [record.getMessage() for record in records] == ['nobody there']
    assert errors == []
