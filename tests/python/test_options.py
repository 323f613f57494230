# SPDX-License-Identifier: MIT
"""Options of a connection."""

import copy
import math
import pickle

import pytest

import across
import across.servers


def test_defaults_and_copy():
    options = across.Options()
    assert (options.timeout, options.accept_exported_modules, options.protocol_version) == (60.0, False, (0, 2))
    changed = options.copy(timeout=None)
    assert changed.timeout is None and options.timeout == 60.0


@pytest.mark.parametrize('given, kept', [(5, 5.0), (1e-9, 0.001), (1e9, 86400.0), (math.inf, 86400.0), (None, None)])
def test_timeouts_are_clamped(given, kept):
    assert across.Options(timeout=given).timeout == kept


@pytest.mark.parametrize(
    'timeout, error', [('1', TypeError), (0, ValueError), (-1, ValueError), (math.nan, ValueError)]
)
def test_wrong_timeouts(timeout, error):
    with pytest.raises(error):
        across.Options(timeout=timeout)


@pytest.mark.parametrize('given, kept', [(0, 0), (5, 5), (1000, 1000), (10**9, 1000)])
def test_spins_are_clamped(given, kept):
    assert across.Options(spin=given).spin == kept


@pytest.mark.parametrize(
    'spin, error', [(0.5, TypeError), ('1', TypeError), (None, TypeError), (True, TypeError), (-1, ValueError)]
)
def test_wrong_spins(spin, error):
    with pytest.raises(error, match='spin'):
        across.Options(spin=spin)


def test_unknown_names():
    with pytest.raises(AttributeError):
        across.Options(speed=1)
    with pytest.raises(AttributeError):
        across.Options().speed = 1
    with pytest.raises(AttributeError):
        across.Options().copy(speed=1)


def test_what_is_no_options():
    with pytest.raises(TypeError, match='Options, not dict'):
        across.Connection(object(), options={'timeout': 5})
    with pytest.raises(TypeError, match='Options, not dict'):
        across.servers.LocalConnectionHandler(options={'timeout': 5})


@pytest.mark.parametrize('changes', [{}, {'timeout': None}, {'trust': 'data', 'protocol_version': (0, 1)}, {'spin': 0}])
@pytest.mark.parametrize('copy_of', [copy.copy, copy.deepcopy, lambda options: pickle.loads(pickle.dumps(options))])
def test_copies_are_equal(changes, copy_of):
    options = across.Options(**changes)
    copied = copy_of(options)
    assert copied is not options and repr(copied) == repr(options)


class PlainOptions:
    """Loads a pickle as the class of plain across does."""

    def __setattr__(self, name, value):
        raise AttributeError(name)


def test_pickles_of_plain_across(monkeypatch):
    pickled = pickle.dumps(across.Options(timeout=5))
    unheeded = pickle.dumps(across.Options(trust='data'))
    with monkeypatch.context() as patch:
        patch.setattr(across, 'Options', PlainOptions)
        loaded = pickle.loads(pickled)
        assert vars(loaded) == {'timeout': 5.0, 'accept_exported_modules': False}
        with pytest.raises(AttributeError, match='trust'):
            pickle.loads(unheeded)
        PlainOptions.__module__, PlainOptions.__qualname__ = 'across', 'Options'
        pickled = pickle.dumps(loaded)
    assert repr(pickle.loads(pickled)) == 'Options(timeout=5.0)'


def test_wrong_versions():
    with pytest.raises(ValueError):
        across.Options(protocol_version=(0, 3))
    with pytest.raises(TypeError):
        across.Options(protocol_version='0.2')


@pytest.mark.parametrize('level', [3, -1, '1', None])
def test_wrong_debug_levels(level):
    with pytest.raises(ValueError):
        across.set_debug_level(level)


def test_debug_level(conn, capsys):
    across.set_debug_level(1)
    try:
        conn.close()
        assert 'ended' in capsys.readouterr().err
    finally:
        across.set_debug_level(0)
