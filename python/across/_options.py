# SPDX-License-Identifier: MIT
"""Options of a connection."""

from __future__ import annotations

from typing import Any, Callable, Optional

from .values.picklers import check_pickler

MIN_TIMEOUT = 0.001  # seconds; the wire carries whole milliseconds, and 0 means none
MAX_SPIN = 1000  # microseconds; what takes longer is no small call
MAX_TIMEOUT = 86400.0  # seconds; one day, far below what poll() and timers can express


def _check_timeout(value: Any) -> Optional[float]:
    if value is None:
        return None
    if not isinstance(value, (int, float)):
        raise TypeError('timeout must be None, an int or a float, not {}'.format(type(value).__name__))
    if not value > 0:  # also catches NaN
        raise ValueError('timeout must be positive, not {!r}'.format(value))
    return float(max(MIN_TIMEOUT, min(MAX_TIMEOUT, value)))


def _check_spin(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError('spin must be an int, not {}'.format(type(value).__name__))
    if value < 0:
        raise ValueError('spin must not be negative, but is {!r}'.format(value))
    return min(value, MAX_SPIN)


def _check_protocol_version(value: Any) -> tuple[int, int]:
    if not isinstance(value, tuple):
        raise TypeError('protocol_version must be a tuple, not {}'.format(type(value).__name__))
    if value not in ((0, 1), (0, 2)):
        raise ValueError('protocol_version must be (0, 1) or (0, 2), not {!r}'.format(value))
    return value


def _check_trust(value: Any) -> str:
    if value not in ('full', 'data'):
        raise ValueError("trust must be 'full' or 'data', not {!r}".format(value))
    return str(value)


def _check_trusted_types(value: Any) -> tuple[Any, ...]:
    types = tuple(value)
    for item in types:
        if not callable(item) or not all(isinstance(getattr(item, name, None), str) for name in _NAMES):
            raise TypeError('trusted_types must be types, or functions, not {!r}'.format(item))
    return types


_NAMES = ('__module__', '__qualname__')
_CHECKS: dict[str, Callable[[Any], Any]] = {
    'timeout': _check_timeout,
    'accept_exported_modules': bool,
    'protocol_version': _check_protocol_version,
    'pickler': check_pickler,
    'trust': _check_trust,
    'trusted_types': _check_trusted_types,
    'spin': _check_spin,
}
_DEFAULTS: dict[str, Any] = {
    'timeout': 60.0,
    'accept_exported_modules': False,
    'protocol_version': (0, 2),
    'pickler': None,
    'trust': 'full',
    'trusted_types': (),
    'spin': 100,
}

_PLAIN = ('timeout', 'accept_exported_modules')  # what plain across has, too


class Options:
    """How a connection behaves. Pass it as `options=` when a connection is made; later changes have no effect on it.

    timeout
        Seconds, or None. A peer that is silent, or does not read, for that long is given up, and so is a handshake that
        takes longer. Values outside of 1 ms … 1 day become the nearest of these. Default: 60.0.
    accept_exported_modules
        Whether the peer may export modules to this process. Default: False.
    protocol_version
        The version of the wire protocol that the side which opens a connection speaks: (0, 2), or (0, 1) for a peer
        that runs across 0.1. Default: (0, 2).
    pickler
        'cloudpickle': functions and classes that pickle cannot name, such as lambdas, closures and those of a notebook,
        cross by value. Both sides need the package cloudpickle and the same version of Python; where the other side
        accepts modules, `conn.export('cloudpickle')` brings it there. The other side answers in kind unless it runs
        plain across. Or a function, called as `pickler(value, protocol=4)`, that returns bytes which the other side can
        read with pickle.loads(): used on this side alone. Default: None, pickle's own.

    trust
        What the other side may do to this process. 'full': everything, for what it sends is unpickled, and what it asks
        for is called. 'data': it may answer. It cannot call anything here; of what it answers, plain data and proxies
        are taken, and nothing else than `trusted_types`; what it raises arrives as :exc:`across.RemoteError`. It cannot
        be given modules, either: `export` is a ValueError. Default: 'full'.
    trusted_types
        With trust='data': types of which the other side may send instances too, and functions that it may have called
        to make them. Default: ().

    spin
        Microseconds, 0 to 1000. A thread that waits for the other side polls for up to so long before it sleeps, which
        spares a small call between two cores the time of waking it. That keeps a core busy meanwhile: so it stops where
        what it waits for does not come in time, never happens where a process has one core or more threads want to run
        than there are cores, and costs nothing while nobody calls. 0: never. The native engine only. Default: 100.

    A name that is none of these is an AttributeError.
    """

    __slots__ = ('timeout', 'accept_exported_modules', 'protocol_version', 'pickler', 'trust', 'trusted_types', 'spin')

    timeout: Optional[float]
    accept_exported_modules: bool
    protocol_version: tuple[int, int]
    pickler: Any
    trust: str
    trusted_types: tuple[Any, ...]
    spin: int

    def __init__(self, **options: Any) -> None:
        self._assign(_DEFAULTS)
        self._assign(options)

    def copy(self, **changes: Any) -> Options:
        """Return a copy with some options changed."""
        other = type(self)()
        other._assign({name: getattr(self, name) for name in _DEFAULTS})
        other._assign(changes)
        return other

    def _assign(self, options: dict[str, Any]) -> None:
        for name, value in options.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        check = _CHECKS.get(name)
        if check is None:
            raise AttributeError('No option named {!r}'.format(name))
        super().__setattr__(name, check(value))

    # Pickles pass between this class and that of plain across, which knows two of the options and keeps them in a dict.
    # It refuses what comes as the state of slots: an option that it would not heed.

    def __getstate__(self) -> Any:
        plain = {name: getattr(self, name) for name in _PLAIN}
        others = {name: getattr(self, name) for name in _DEFAULTS if name not in _PLAIN}
        changed = {name: value for name, value in others.items() if value != _DEFAULTS[name]}
        return (plain, changed) if changed else plain

    def __setstate__(self, state: Any) -> None:
        self._assign(_DEFAULTS)
        for part in state if isinstance(state, tuple) else (state,):
            self._assign(part)

    def __repr__(self) -> str:
        changed = ((name, getattr(self, name)) for name, default in _DEFAULTS.items() if getattr(self, name) != default)
        return '{}({})'.format(type(self).__name__, ', '.join('{}={!r}'.format(*item) for item in changed))


Options.__module__ = 'across'


def take_options(options: Optional[Options]) -> Options:
    """Return a copy of what a user gave as options, or the defaults."""
    if options is None:
        return Options()
    if not isinstance(options, Options):
        raise TypeError('options must be an across.Options, not {}'.format(type(options).__name__))
    return options.copy()
