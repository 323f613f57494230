# SPDX-License-Identifier: MIT
"""Log records that travel."""

import logging
import sys
import threading

import pytest

import across
import across.logging
from across import _log


class Unprintable:
    def __reduce__(self):
        raise TypeError('not picklable')

    def __str__(self):
        return 'formatted here'


def fail_to_load():
    raise ValueError('not here')


class OnlyHere:
    def __reduce__(self):
        return fail_to_load, ()


@pytest.fixture
def logger():
    logger = logging.getLogger('rainbow')
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.handlers.clear()


@pytest.fixture
def records(logger):
    """What the logger that both ends share handles."""
    kept = []
    handler = logging.Handler()
    handler.emit = kept.append
    logger.addHandler(handler)
    return kept


def test_records_reach_the_logger_of_the_same_name(conn, records):
    handler = across.logging.AcrossHandler(conn)
    handler.handle(logging.makeLogRecord({
        'name': 'rainbow', 'levelno': logging.INFO, 'msg': '%s and %d', 'args': (Unprintable(), 3),
        'extra': Unprintable(), 'lineno': 5,
    }))  # fmt: skip
    assert [record.getMessage() for record in records] == ['formatted here and 3']
    assert records[0].lineno == 5 and records[0].args == () and isinstance(records[0].extra, str)


def handle_and_note(handler, **attrs):
    """Handle a record; return the errors that the handler reported."""
    errors = []
    handler.handleError = lambda record: errors.append(sys.exc_info()[1])
    handler.handle(logging.makeLogRecord({'levelno': logging.INFO, 'name': 'rainbow', 'msg': 'msg', **attrs}))
    return errors


def test_a_record_that_arrives_prints_no_error(conn, records, capsys):
    attrs = {'levelno': logging.INFO, 'name': 'rainbow', 'lock': threading.Lock()}
    across.logging.AcrossHandler(conn).handle(logging.makeLogRecord(attrs))
    assert len(records) == 1 and capsys.readouterr().err == ''


def test_what_cannot_be_pickled_is_reported_and_the_record_arrives(conn, records):
    (error,) = handle_and_note(across.logging.AcrossHandler(conn), lock=threading.Lock())
    assert type(error) is across.OperationError
    assert str(error).startswith('Pickling the attribute lock of a log record failed due to TypeError')
    assert [record.lock[:9] for record in records] == ['<unlocked']


@pytest.mark.parametrize('attrs', [{'msg': '%d', 'args': ('no number',)}, {'name': None}])
def test_a_record_that_cannot_be_read_is_reported(conn, records, attrs):
    (error,) = handle_and_note(across.logging.AcrossHandler(conn), **attrs)
    assert isinstance(error, (TypeError, AttributeError)) and records == []


def test_a_record_that_the_other_side_cannot_take_is_reported(conn, records):
    (error,) = handle_and_note(across.logging.AcrossHandler(conn), extra=OnlyHere())
    assert type(error) is across.OperationError and 'Unpickling failed' in str(error) and records == []


def test_exceptions_are_formatted_here(conn, records):
    try:
        raise KeyError(threading.Lock())
    except KeyError as error:
        exc_info = (KeyError, error, error.__traceback__)
    across.logging.AcrossHandler(conn).handle(
        logging.makeLogRecord({'levelno': logging.INFO, 'name': 'rainbow', 'exc_info': exc_info})
    )
    assert records[0].exc_info is None and 'Traceback' in records[0].exc_text


def test_record_is_not_sent_back_where_it_came_from(make_pair, logger, records):
    one, other = make_pair()
    logger.addHandler(across.logging.AcrossHandler(other))
    across.logging.AcrossHandler(one).handle(
        logging.makeLogRecord({'levelno': logging.INFO, 'name': 'rainbow', 'msg': 'once'})
    )
    assert len(records) == 1


def test_own_records_stay_here_and_a_closed_connection_drops_them(conn, records):
    handler = across.logging.AcrossHandler(conn)
    handler.handle(logging.makeLogRecord({'levelno': logging.INFO, 'name': 'across', 'msg': 'about a connection'}))
    conn.close()
    handler.handle(logging.makeLogRecord({'levelno': logging.INFO, 'name': 'rainbow', 'msg': 'too late'}))
    assert records == []


def test_without_a_connection():
    with pytest.raises(ValueError):
        across.logging.AcrossHandler()


def test_handler_of_the_running_call(conn, records):
    conn.call(_log_remotely)
    assert [record.getMessage() for record in records] == ['from the call']


def _log_remotely():
    across.logging.AcrossHandler().handle(
        logging.makeLogRecord({'levelno': logging.INFO, 'name': 'rainbow', 'msg': 'from the call'})
    )


# ---- errors that a peer can cause ----


def test_errors_beyond_a_quota_are_counted_and_not_logged(monkeypatch, caplog):
    now = [1000.0]
    monkeypatch.setattr(_log.time, 'monotonic', lambda: now[0])
    quota = _log.RateLimitedErrors(3, 10.0)
    for number in range(50):
        assert quota.is_exhausted() == (number >= 3)
        quota.error('connection %d broke', number)
    now[0] += 10.0
    assert not quota.is_exhausted()
    quota.error('connection %d broke', 50)
    quota.error('connection %d broke', 51)
    assert [record.getMessage() for record in caplog.records] == [
        'connection 0 broke',
        'connection 1 broke',
        'connection 2 broke',
        'connection 50 broke; 47 errors before it were not logged',
    ]
    now[0] += 1000.0
    quota.error('connection %d broke', 52)
    assert caplog.records[-1].getMessage() == 'connection 52 broke; 1 errors before it were not logged'
