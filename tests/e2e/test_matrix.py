# SPDX-License-Identifier: MIT
"""docs/compatibility.md says what is so."""

import pytest

from . import matrix


@pytest.mark.more
@pytest.mark.timeout(600)  # it starts some 200 processes
def test_the_page_is_true(plain_across):
    _, written, _ = matrix.read_page()
    results = matrix.try_all(plain_across)
    assert matrix.list_failures(results) == []
    if matrix.VERSION + '.' in written:  # with others, plain across can do more, or less
        assert matrix.render(results) == written


@pytest.mark.parametrize(
    ('error', 'outcome'),
    [
        (None, 'yes'),
        ('ValueError: Exporting modules is not allowed', 'The clients of a shared interpreter share its modules.'),
        ('ValueError: of another kind', 'fails: ValueError: of another kind'),
    ],
)
def test_what_fails_in_another_way_is_no_limit(error, outcome):
    assert matrix.judge('export', 'native', 'shared', error) == outcome


def test_what_fails_where_there_is_no_limit():
    error = 'ValueError: Exporting modules is not allowed'
    assert matrix.judge('export', 'native', 'process', error) == 'fails: ' + error
