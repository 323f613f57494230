# SPDX-License-Identifier: MIT
"""Exceptions that a client cannot make: their classes are on the server alone, or its Python has no groups."""

import json
import os
import subprocess

import pytest

import across

from .daemon import environment
from .pythons import VERSIONS, find_python
from .waiting import LIMIT

SERVED = """
import sys, types
module = sys.modules['labonly'] = types.ModuleType('labonly')
exec('''
class Boom(Exception):
    pass

def fail():
    raise Boom('kaputt')

def fail_with_cause():
    try:
        fail()
    except Boom as error:
        raise ValueError('outer') from error

def fail_with_group():
    members = []
    for func in (fail, fail_with_cause):
        try:
            func()
        except Exception as error:
            error.add_note('noted')
            members.append(error)
    raise ExceptionGroup('several', [ExceptionGroup('inner', members), KeyError('plain')])
''', module.__dict__)
"""

CLIENT = """
import json, sys, traceback
import across
found = {}
with across.Connection.from_unix(sys.argv[1]) as conn:
    conn.execute(sys.argv[2])
    for name in ('fail', 'fail_with_cause', 'fail_with_group'):
        try:
            conn.execute('import labonly; getattr(labonly, name)()', name=name)
        except Exception as error:
            names = [cls.__name__ for cls in type(error).__mro__]
            found[name] = names, traceback.format_exc(), getattr(error, 'remote_traceback', None)
    found['alive'] = conn.execute('1 + 1')
print(json.dumps(found))
"""


@pytest.mark.parametrize('version', VERSIONS)
def test_clients_of_all_versions(daemon, version):
    python = find_python(version)
    if python is None:
        pytest.skip('there is no Python {} on this machine'.format(version))
    env = dict(environment(os.path.dirname(os.path.dirname(across.__file__))), ACROSS_ENGINE='pure')
    command = [python, '-c', CLIENT, daemon.addresses[0][5:], SERVED]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT)
    assert done.stderr == ''
    found = json.loads(done.stdout)
    assert found['alive'] == 2

    names, text, remote = found['fail']
    assert names[0] == 'UnknownExceptionError' and 'OperationError' in names
    assert 'labonly.Boom: kaputt' in text and 'in fail' in text and 'in fail' in remote

    names, text, _ = found['fail_with_cause']
    assert names[0] == 'ValueError' and 'labonly.Boom: kaputt' in text and 'in fail_with_cause' in text

    names, text, _ = found['fail_with_group']
    has_groups = tuple(map(int, version.split('.'))) >= (3, 11)
    assert names[0] == ('ExceptionGroup' if has_groups else 'UnknownExceptionError')
    assert 'several (2 sub-exceptions)' in text and 'inner (2 sub-exceptions)' in text
    assert text.count('labonly.Boom: kaputt') == 2 and text.count('noted') == 2 and "KeyError: 'plain'" in text
    assert text.count('in fail_with_cause') == 2 and text.count('ValueError: outer') == 1


def test_every_transport(conn):
    conn.execute(SERVED)
    with pytest.raises(across.UnknownExceptionError) as caught:
        conn.execute('import labonly; labonly.fail()')
    assert (caught.value.type_name, caught.value.text) == ('labonly.Boom', 'kaputt')
    assert 'in fail' in caught.value.remote_traceback
    assert conn.call(os.getpid) > 0
