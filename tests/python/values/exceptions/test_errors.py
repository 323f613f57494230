# SPDX-License-Identifier: MIT
"""Exceptions that cross connections."""

import gc
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import traceback
import types
import weakref

import pytest

import across
from across import _errors
from across.values.exceptions import records, tracebacks


class CustomError(Exception):
    pass


class NotUnpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(one)


class NotPicklable(Exception):
    def __init__(self):
        super().__init__('kept')
        self.lock = threading.Lock()


def fail_with(exc):
    raise exc


def fail_deep(hops):
    if hops:
        across.get_connection().call(fail_deep, hops - 1)
    raise CustomError('deep')  # the line that is shown


def fail_with_cause():
    try:
        raise KeyError('inner')
    except KeyError as error:
        raise CustomError('outer') from error


def fail_with_context():
    try:
        raise KeyError('inner')
    except KeyError:
        raise CustomError('outer')  # noqa: B904


def fail_suppressed():
    try:
        raise KeyError('inner')
    except KeyError:
        raise CustomError('outer') from None


def fail_with_notes():
    exc = json.JSONDecodeError('bad', 'document', 0)
    exc.__notes__ = ['a note']
    raise exc


def fail_with_unportable_context():
    try:
        raise NotPicklable()
    except NotPicklable:
        raise CustomError('outer')  # noqa: B904


def fail_with_group():
    try:
        raise KeyError('inner')
    except KeyError as inner:
        raise ExceptionGroup('several', [inner, CustomError('never raised')])  # noqa: B904, F821


def fail_unportable(cls, *args):
    raise cls(*args)


def catch(conn, *args):
    with pytest.raises(Exception) as info:
        conn.call(*args)
    return info.value


def format_exception(exc):
    return ''.join(traceback.format_exception(type(exc), exc, exc.__traceback__))


def test_traceback_shows_every_frame_of_every_hop(conn):
    text = format_exception(catch(conn, fail_deep, 3))
    assert text.count('<process {} on {}>'.format(os.getpid(), socket.gethostname())) == 4
    assert text.count('in fail_deep') == 4
    assert text.count('across.get_connection().call(fail_deep, hops - 1)') == 3
    assert text.count("raise CustomError('deep')  # the line that is shown") == 1
    assert 'File "{}", line {}, in fail_deep'.format(__file__, fail_deep.__code__.co_firstlineno + 3) in text


def test_cause_context_and_suppression(conn):
    caused = catch(conn, fail_with_cause)
    assert isinstance(caused.__cause__, KeyError) and caused.__cause__ is caused.__context__
    assert "raise KeyError('inner')" in format_exception(caused)
    assert isinstance(catch(conn, fail_with_context).__context__, KeyError)
    suppressed = catch(conn, fail_suppressed)
    assert suppressed.__suppress_context__ and suppressed.__cause__ is None


def test_notes_arrive(conn):
    exc = CustomError('noted')
    exc.__notes__ = ['a note']
    assert catch(conn, fail_with, exc).__notes__ == ['a note']


def test_notes_arrive_even_if_the_class_does_not_pickle_them(conn):
    assert catch(conn, fail_with_notes).__notes__ == ['a note']


def test_caller_sees_what_it_was_handling(conn):
    try:
        raise KeyError('handled here')
    except KeyError as handled:
        assert catch(conn, fail_deep, 0).__context__ is handled
        assert 'inner' in str(catch(conn, fail_with_context).__context__)


def test_context_that_cannot_cross_is_replaced(conn):
    exc = catch(conn, fail_with_unportable_context)
    assert type(exc) is CustomError
    assert type(exc.__context__) is RuntimeError and 'NotPicklable: kept' in str(exc.__context__)
    assert 'in fail_with_unportable_context' in format_exception(exc.__context__)


@pytest.mark.skipif(sys.version_info < (3, 11), reason='no exception groups')
def test_exception_groups_cross(conn):
    exc = catch(conn, fail_with_group)
    assert type(exc) is ExceptionGroup and exc.message == 'several'  # noqa: F821
    assert [type(member) for member in exc.exceptions] == [KeyError, CustomError]
    assert exc.__context__ is exc.exceptions[0]
    assert "raise KeyError('inner')" in format_exception(exc)


def test_interpreter_and_logging_show_remote_tracebacks():
    source = """
import across, logging, socket
source = "def func():\\n    raise ValueError('far away')  # the line\\nfunc()"
one, other = [across.Connection.from_socket(end) for end in socket.socketpair()]
try:
    one.execute(source)
except ValueError:
    logging.exception('logged')
one.execute(source)
"""
    shown = subprocess.run([sys.executable, '-c', source], stderr=subprocess.PIPE, text=True).stderr
    assert shown.count("    raise ValueError('far away')  # the line\n") == 2, shown
    assert shown.count(', line 2, in func') == 2
    assert shown.count(' on {}>'.format(socket.gethostname())) == 2


@pytest.mark.parametrize('args', [(NotPicklable,), (NotUnpicklable, 'kept', 2)])
def test_exception_that_cannot_cross_is_described(conn, args):
    exc = catch(conn, fail_unportable, *args)
    assert type(exc) is across.OperationError
    assert 'kept' in format_exception(exc) and args[0].__name__ in format_exception(exc)
    assert 'in fail_unportable' in format_exception(exc)
    assert conn.is_connected()


@pytest.mark.parametrize('cls', [across.OperationError, across.DisconnectError])
def test_operation_errors_do_not_cross_as_themselves(conn, cls):
    exc = catch(conn, fail_unportable, cls, 'theirs')
    assert type(exc) is RuntimeError
    assert str(exc) == 'Cannot raise {} between processes'.format(cls.__name__)
    assert type(exc.__cause__) is cls


def test_long_chains_are_bounded():
    exc = None
    for number in range(5000):
        outer = ValueError(number)
        outer.__context__ = exc
        exc = outer
    copied = records.load_error(pickle.loads(pickle.dumps(records.dump_error(exc), 4)))
    length = 0
    while copied is not None:
        length, copied = length + 1, copied.__context__
    assert 10 < length <= records._MAX_EXCEPTIONS + 1


def test_cycles_survive():
    one, two = ValueError(1), ValueError(2)
    one.__cause__, two.__cause__ = two, one
    copied = records.load_error(pickle.loads(pickle.dumps(records.dump_error(one), 4)))
    assert copied.__cause__.__cause__ is copied


def test_deep_recursion_is_bounded():
    def recurse():
        recurse()

    with pytest.raises(RecursionError) as info:
        recurse()
    hops = tracebacks.pack(info.value.__traceback__, here=False)
    assert len(hops) == 1 and len(hops[0][2]) <= tracebacks._MAX_ENTRIES + 1
    assert 'Previous line repeated' in ''.join(traceback.format_tb(tracebacks.unpack(hops)))


def test_caught_exception_leaves_no_cycle(conn):
    gc.collect()
    gc.disable()
    try:
        try:
            conn.call(fail_with, CustomError())
        except CustomError as error:
            reference = weakref.ref(error)
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.parametrize('record', [None, 3, (1, 2), (3, None, False, None, []), (ValueError(), None, False, 7, [])])
def test_malformed_records_are_errors(record):
    with pytest.raises((TypeError, ValueError)):
        records.load_error(record)


plain_site = os.environ.get('AX_PLAIN_ACROSS')


@pytest.mark.skipif(not plain_site, reason='AX_PLAIN_ACROSS does not name the folder of across 0.1')
def test_plain_peer_understands_records_and_is_understood():
    source = 'import across\nwith across.Connection.from_stdio() as conn: conn.wait()'
    proc = subprocess.Popen(
        [sys.executable, '-c', source], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': plain_site},
    )  # fmt: skip
    with across.Connection.from_process(proc, options=across.Options(protocol_version=(0, 1))) as conn:
        with pytest.raises(ZeroDivisionError) as info:
            conn.execute('1 / 0')
        assert str(proc.pid) in format_exception(info.value)
        text = conn.execute(
            'import traceback\ntry: func("spam")\nexcept ValueError: text = traceback.format_exc()\ntext',
            func=across.Local(int),
        )
        assert 'invalid literal' in text and str(os.getpid()) in text
    assert proc.returncode == 0


# ---- what cannot be made here ----


@pytest.fixture
def lab():
    """A module that is missing wherever it is looked for by the code that `away` runs."""
    module = types.ModuleType('labonly')
    sys.modules['labonly'] = module
    exec(LAB, module.__dict__)
    yield module
    sys.modules.pop('labonly', None)


LAB = """
class Boom(Exception):
    pass


class Spoken(Exception):
    def __init__(self, code):
        self.code = code

    def __str__(self):
        return 'code {}'.format(self.code)


class Rebuilt(Exception):
    def __reduce__(self):
        return rebuild, (type(self), self.args)


class Thing:
    pass


def rebuild(cls, args):
    return cls(*args)
"""


def cross(exc, with_details=True):
    """Pickle an exception as a call does that raises it; return what becomes of it where labonly is missing."""
    try:
        raise exc
    except BaseException as error:
        data = pickle.dumps(_dump(error, with_details), 4)
    missing = sys.modules.pop('labonly', None)
    try:
        return _load(data)
    finally:
        if missing is not None:
            sys.modules['labonly'] = missing


def _dump(exc, with_details):
    dumper = records._Dumper(with_details)
    return dumper.dump(dumper.check(exc), top=True)


def _load(data):
    try:
        return records.load_error(pickle.loads(data))
    except Exception as error:
        why = error
    return records.rescue_error(why, data, None)


@pytest.mark.parametrize('with_details', [True, False])
def test_an_exception_whose_class_is_missing_arrives_as_text(lab, with_details):
    exc = cross(lab.Boom('kaputt'), with_details)
    assert type(exc) is across.UnknownExceptionError
    assert isinstance(exc, across.OperationError) and isinstance(exc, across.RemoteError)
    assert (exc.type_name, exc.text) == ('labonly.Boom', 'kaputt')
    assert 'in cross' in exc.remote_traceback and 'raise exc' in exc.remote_traceback
    text = format_exception(exc)
    assert 'in cross' in text and 'labonly.Boom: kaputt' in text and "No module named 'labonly'" in text
    copied = pickle.loads(pickle.dumps(exc))
    assert str(copied) == str(exc) and copied.remote_traceback == exc.remote_traceback


def test_text_is_what_its_class_makes_of_it(lab):
    assert cross(lab.Spoken(7)).text == 'code 7'
    assert cross(lab.Spoken(7), with_details=False).text == '7'
    assert (cross(lab.Rebuilt('one', 2)).type_name, cross(lab.Rebuilt('one', 2)).text) == (
        'labonly.Rebuilt', "('one', 2)",
    )  # fmt: skip


def test_what_can_be_made_is_made(lab):
    exc = ValueError('outer')
    exc.__cause__ = lab.Boom('inner')
    exc.__cause__.__context__ = KeyError('innermost')
    exc = cross(exc)
    assert type(exc) is ValueError and exc.args == ('outer',)
    assert type(exc.__cause__) is across.UnknownExceptionError and exc.__cause__.text == 'inner'
    assert type(exc.__cause__.__context__) is KeyError


def test_an_exception_that_holds_what_is_missing_is_text(lab):
    thing = ValueError('with', [lab.Thing()])
    assert cross(thing).type_name == 'ValueError' and 'labonly.Thing()' in cross(thing).text
    attribute = CustomError('plain')
    attribute.thing = lab.Thing()
    exc = cross(attribute)
    assert exc.type_name == __name__ + '.CustomError' and exc.text == 'plain'


class FailsToLoad(Exception):
    def __reduce__(self):
        return fail_to_load, (self.args[0],)


class FailsToSet(Exception):
    def __setstate__(self, state):
        raise RuntimeError('state refused')


def fail_to_load(text):
    raise RuntimeError('load refused')


def fail_with_attribute(exc):
    exc.attribute = 1
    raise exc


@pytest.mark.parametrize('cls, why', [(FailsToLoad, 'load refused'), (FailsToSet, 'state refused')])
def test_exception_that_its_class_fails_to_make_is_described(conn, cls, why):
    source = 'exc = func("kept")\nexc.attribute = 1\nraise exc'
    exc = catch(conn, across._execute, source, {'func': cls})
    assert type(exc) is across.OperationError and why in str(exc)
    text = format_exception(exc)
    assert 'kept' in text and 'in <module>' in text and conn.is_connected()


def test_nothing_is_unpickled_before_it_is_sent(make_pair):
    one, _ = make_pair()
    _noted.clear()
    assert type(catch(one, fail_noting)) is Noting
    assert _noted == [one]


class Noting(Exception):
    def __reduce__(self):
        return note_connection, self.args


def note_connection(text):
    _noted.append(across.get_connection())
    return Noting(text)


def fail_noting():
    raise Noting('noted')


_noted = []


def test_unknown_exceptions_travel_on(conn, lab):
    exc = across.UnknownExceptionError('labonly.Boom', 'far', 'File "far away"')
    exc.reason = 'missing'
    copied = catch(conn, fail_with, exc)
    assert type(copied) is across.UnknownExceptionError
    assert (copied.type_name, copied.text, copied.reason) == ('labonly.Boom', 'far', 'missing')
    assert copied.remote_traceback.startswith('File "far away"')


def test_exception_with_a_proxy_of_another_connection_is_described(make_pair):
    (one, _), (other, _) = make_pair(), make_pair()
    _foreign.append(other.create(list))
    try:
        exc = catch(one, fail_with_foreign_proxy)
    finally:
        _foreign.clear()
    assert type(exc) is across.OperationError
    assert 'ProxyHolder' in format_exception(exc) and 'in fail_with_foreign_proxy' in format_exception(exc)


class ProxyHolder(Exception):
    pass


def fail_with_foreign_proxy():
    raise ProxyHolder('kept', *_foreign)


_foreign = []


# ---- groups ----


needs_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason='no exception groups')


def make_group(*more):
    members = []
    for exc in (KeyError('one'), *more):
        try:
            try:
                raise ZeroDivisionError('origin')
            except ZeroDivisionError as cause:
                raise exc from cause  # a member
        except Exception as error:
            error.add_note('noted')
            members.append(error)
    try:
        raise ExceptionGroup('inner', members)  # noqa: F821
    except ExceptionGroup as inner:  # noqa: F821
        return ExceptionGroup('outer', [inner, ValueError('never raised')])  # noqa: F821


def fail_with_details_in_group():
    raise make_group()


def check_members(group):
    inner, plain = group.exceptions
    assert 'in make_group' in format_exception(inner) and type(plain) is ValueError
    for member in inner.exceptions:
        text = format_exception(member)
        assert type(member.__cause__) is ZeroDivisionError and 'raise exc from cause  # a member' in text
        assert text.count('in make_group') == 2 and member.__notes__ == ['noted']
        assert '__across_details__' not in vars(member)
    assert '__across_details__' not in vars(group)
    return inner.exceptions


@needs_groups
def test_members_of_groups_keep_traceback_cause_and_notes(conn):
    group = catch(conn, fail_with_details_in_group)
    assert type(group) is ExceptionGroup and group.args[0] == 'outer'  # noqa: F821
    (member,) = check_members(group)
    assert type(member) is KeyError


@needs_groups
def test_members_of_a_missing_class_are_text(lab):
    group = cross(make_group(lab.Boom('kaputt')))
    assert type(group) is ExceptionGroup  # noqa: F821
    one, two = check_members(group)
    assert type(one) is KeyError and type(two) is across.UnknownExceptionError
    assert 'in make_group' in two.remote_traceback and two.text == 'kaputt'


@needs_groups
def test_members_that_cannot_be_pickled_are_replaced():
    group = cross(make_group(NotPicklable()))
    _, two = check_members(group)
    assert type(two) is RuntimeError and 'NotPicklable: kept' in str(two)


@needs_groups
def test_groups_where_there_are_none(lab, monkeypatch):
    group = make_group(lab.Boom('kaputt'))
    data = pickle.dumps(_dump(group, True), 4)
    monkeypatch.delattr('builtins.ExceptionGroup')
    sys.modules.pop('labonly')
    exc = _load(data)
    assert type(exc) is across.UnknownExceptionError
    assert (exc.type_name, exc.text) == ('ExceptionGroup', 'outer (2 sub-exceptions)')
    one, two = check_members(exc)
    assert type(one) is KeyError and two.text == 'kaputt'
    text = str(exc)
    assert text.count('raise exc from cause  # a member') == 2
    assert "KeyError: 'one'" in text and 'labonly.Boom: kaputt' in text


@needs_groups
def test_groups_of_many_are_bounded():
    group = cross(ExceptionGroup('many', [ValueError(number) for number in range(500)]))  # noqa: F821
    assert [member.args for member in group.exceptions] == [(number,) for number in range(500)]


def test_a_group_that_holds_itself_can_be_printed():
    error = across.RemoteError('ExceptionGroup', 'endless')
    error.exceptions = (error, error)
    assert 'endless' in str(error) and len(str(error)) < 1 << 20


# ---- what a peer's text does to a log ----


@pytest.mark.parametrize('char', [*'\x1b \x9b \u202e \u2066 \u200e \ufeff �'.split(' '), '\x85', '\u2028', '\u2029'])
def test_descriptions_escape_what_terminals_obey(char):
    text = _errors.describe_error(ValueError('a{}b ü 漢'.format(char)))
    assert text.isprintable() and text.startswith('ValueError: a') and text.endswith('b ü 漢')


def test_descriptions_keep_printable_text():
    assert _errors.describe_error(KeyError('ü\n漢')) == "KeyError: 'ü\\n漢'"
    assert _errors.describe_error(ValueError('one\ntwo')) == 'ValueError: one two'
