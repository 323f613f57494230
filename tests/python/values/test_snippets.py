# SPDX-License-Identifier: MIT
"""Snippets of source: what they give, and that their lines are found. Both ends are in this process."""

import linecache
import threading
import traceback

import pytest

from across.values import snippets


def format_error(error):
    return ''.join(traceback.format_exception(type(error), error, error.__traceback__))


@pytest.mark.parametrize(
    'source, value',
    [
        ('', None),
        ('1 + 1', 2),
        ('1 + 1;', 2),
        ('x = 1; x + 1  # two\n\n', 2),
        ('"text"', 'text'),
        ('None', None),
        ('x = 5', None),
        ('1\nx = 5', None),
        ('[\n    1,\n    2,\n]', [1, 2]),
        ('def f():\n    return 3\nf()', 3),
        ('if True:\n    7', None),
        ('from __future__ import annotations\ndef f(x: missing): pass\nf.__annotations__', {'x': 'missing'}),
        ('x = [n * factor for n in range(3)]\nx', [0, 10, 20]),
        ('(y := 4)', 4),
        ('vars()["factor"]', 10),
        ('"__across_result__" in vars()', False),
        (b'# coding: latin-1\n"\xe4"', 'ä'),
    ],
)
def test_the_value_is_that_of_a_last_expression(conn, source, value):
    assert conn.execute(source, factor=10) == value


@pytest.mark.parametrize('source', [None, 1, ['1']])
def test_sources_that_are_none(conn, source):
    with pytest.raises(TypeError, match='source must be a str or bytes'):
        conn.execute(source)


def test_lines_of_a_snippet_are_in_tracebacks(conn):
    with pytest.raises(ZeroDivisionError) as caught:
        conn.execute('def divide(n):\n    return 1 / n  # by what\n\nx = 0\ndivide(x)  # fails')
    text = format_error(caught.value)
    assert 'return 1 / n  # by what' in text and 'line 2, in divide' in text
    assert 'divide(x)  # fails' in text and 'line 5, in <module>' in text


def test_lines_of_a_last_expression_that_spans_some(conn):
    with pytest.raises(ZeroDivisionError) as caught:
        conn.execute('x = 0\nmax(\n    1,\n    1 / x,\n)')
    assert 'line 4, in <module>' in format_error(caught.value) and '1 / x,' in format_error(caught.value)


def test_lines_are_in_tracebacks_that_are_formatted_there(conn):
    text = conn.execute(
        'import traceback\ndef fail():\n    raise KeyError(1)  # here\n'
        'try:\n    fail()\nexcept KeyError:\n    text = traceback.format_exc()\ntext'
    )
    assert 'raise KeyError(1)  # here' in text and 'line 3, in fail' in text


def test_syntax_errors_tell_the_line(conn):
    with pytest.raises(SyntaxError) as caught:
        conn.execute('x = 1\nif x\n    pass\n')
    assert (caught.value.lineno, caught.value.text.rstrip()) == (2, 'if x')
    assert 'if x\n' in format_error(caught.value)


def test_functions_of_a_snippet_keep_its_lines(conn):
    """Other snippets have been executed when they fail."""
    function = conn.execute('import across\ndef fail():\n    raise ValueError  # of the first\nacross.ref(fail)')
    for number in range(10):
        conn.execute('{}\n{}\n{}'.format(number, number, number))
    with pytest.raises(ValueError) as caught:
        function()
    assert 'raise ValueError  # of the first' in format_error(caught.value)


def test_snippets_that_fail_at_once_show_their_own_lines(conn):
    texts = {}

    def run(number):
        try:
            conn.execute('x = {0}\n1 / 0  # number {0}'.format(number))
        except ZeroDivisionError as error:
            texts[number] = format_error(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(texts) == list(range(8))
    assert all('# number {}\n'.format(number) in text for number, text in texts.items())


def test_variables_of_snippets_are_their_own(conn):
    assert conn.execute('x = 1\nx', x=5) == 1
    with pytest.raises(NameError):
        conn.execute('x')


def test_snippets_that_are_kept_are_bounded():
    for number in range(3 * snippets._MAX_SNIPPETS):
        assert snippets.run('{} + 1'.format(number), {}) == number + 1
    assert len(snippets._kept) <= snippets._MAX_SNIPPETS
    assert sum(name.startswith('<execute') for name in linecache.cache) <= snippets._MAX_SNIPPETS
    large = '"{}"'.format('x' * (snippets._MAX_CHARS + 1))
    assert len(snippets.run(large, {})) == snippets._MAX_CHARS + 1
    assert list(snippets._kept) == [large]
    snippets.run('1', {})
    assert list(snippets._kept) == ['1']
