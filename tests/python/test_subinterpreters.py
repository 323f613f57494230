# SPDX-License-Identifier: MIT
"""The package works in the main interpreter alone, and says so elsewhere."""

import pytest

import across

from .test_connection import run_script

CREATE = (
    'try:\n'
    '    import _interpreters as interpreters\n'
    'except ImportError:\n'
    '    import _xxsubinterpreters as interpreters\n'
)


@pytest.mark.skipif(across.engine != 'native', reason='the extension module refuses')
@pytest.mark.parametrize('first', ['', 'import across\n'], ids=['alone', 'beside the main one'])
def test_a_subinterpreter_is_refused(first):
    output = run_script(
        first + CREATE + 'id = interpreters.create()\n'
        'source = "try:\\n import across\\nexcept ImportError as error:\\n print(error)\\nelse:\\n print(1 / 0)"\n'
        'failure = interpreters.run_string(id, source)\n'
        'assert failure is None, failure\n'
        'interpreters.destroy(id)\n'
    )
    assert 'subinterpreter' in output
