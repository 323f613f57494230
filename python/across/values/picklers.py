# SPDX-License-Identifier: MIT
"""Pickling by value: functions that pickle cannot name, such as lambdas, where both sides have cloudpickle.

A connection with `Options(pickler='cloudpickle')` pickles with it from the start. With its first call it asks the
other side whether it can read that, and to answer in kind: by a snippet, which any peer can execute. One that
has this package does from then on; plain across goes on with pickle.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from typing import Any, Callable, Optional

from .. import engines
from .._errors import OperationError, describe_error
from .snippets import _execute

CLOUDPICKLE = 'cloudpickle'

# By value a function is its byte code, which is another one in every version of Python.
_QUESTION = """
import sys
was_known = 'cloudpickle' in sys.modules
try:
    import cloudpickle
except ImportError:
    found = None
else:
    found = getattr(cloudpickle, '__version__', '?')
    if found == version and sys.implementation.cache_tag == tag:
        try:
            from across._picklers import answer_in_kind
        except ImportError:
            pass
        else:
            answer_in_kind()
found, sys.implementation.cache_tag, was_known
"""

# Another version of cloudpickle may do, or not.
_TRIAL = """
import cloudpickle
error = back = None
try:
    back = cloudpickle.dumps(cloudpickle.loads(sample))
except Exception as exc:
    error = '{}: {}'.format(type(exc).__name__, exc)
error, back
"""

_ACCEPT = """
try:
    from across._picklers import answer_in_kind
except ImportError:
    pass
else:
    answer_in_kind()
"""

# So that it can be replaced.
_FORGET = """
import sys
for name in [*sys.modules]:
    if name.partition('.')[0] == 'cloudpickle':
        del sys.modules[name]
"""


def check_pickler(value: Any) -> Any:
    """Check the value of the option."""
    if isinstance(value, str):
        if value != CLOUDPICKLE:
            raise ValueError('pickler must be {!r} or a function, not {!r}'.format(CLOUDPICKLE, value))
        try:
            importlib.import_module(CLOUDPICKLE)
        except ImportError as error:
            text = 'pickler={!r} needs the package cloudpickle, which cannot be imported here: {}'
            raise ImportError(text.format(value, error), name=CLOUDPICKLE) from error
    elif value is not None and not callable(value):
        raise TypeError('pickler must be None, a str or a function, not {}'.format(type(value).__name__))
    return value


def get_dumps(pickler: Any) -> Optional[Callable[..., bytes]]:
    """Return the function that pickles, for a checked value of the option; None for pickle's own."""
    if isinstance(pickler, str):
        dumps: Callable[..., bytes] = importlib.import_module(pickler).dumps
        return dumps
    return pickler  # type: ignore[no-any-return]


def ask(link: engines.Link) -> None:
    """Find out whether the other side can read functions by value; ask it to send them like that, too."""
    here = sys.implementation.cache_tag
    version = _get_version()
    found, there, was_known = link.apply(_execute, (_QUESTION, {'version': version, 'tag': here}), {})
    if found is None:
        raise OperationError(
            'Functions cannot cross by value: the other side has no package cloudpickle; '
            "conn.export('cloudpickle') lends it the one that is here"
        )
    if here != there:
        raise OperationError('Functions cannot cross by value between {} here and {} there'.format(here, there))
    if found != version:
        trouble = _try_other_version(link)
        if trouble is None:
            link.apply(_execute, (_ACCEPT, {}), {})
            return
        if not was_known:
            link.apply(_execute, (_FORGET, {}), {})
        raise OperationError(_EXPLAIN.format(version, found, trouble, _ADVISE[was_known]))


_EXPLAIN = 'Functions cannot cross by value between cloudpickle {} here and {} there: {}; {}'
_ADVISE = {
    False: "conn.export('cloudpickle') lends the other side the one that is here",
    True: "install the same version on both sides, or call conn.export('cloudpickle') before it is imported there",
}


def _get_version() -> str:
    return str(getattr(importlib.import_module(CLOUDPICKLE), '__version__', '?'))


def _try_other_version(link: engines.Link) -> Optional[str]:
    """Send functions and classes there and back; return why that fails, or None."""
    sample: bytes = importlib.import_module(CLOUDPICKLE).dumps(_make_sample())
    trouble, back = link.apply(_execute, (_TRIAL, {'sample': sample}), {})
    if trouble is not None:
        return str(trouble)
    try:
        pickle.loads(back)
    except Exception as error:
        return describe_error(error)
    return None


def _make_sample() -> Any:
    """Return what cloudpickle has to pickle by value, for it is local here."""
    number = 3

    class Sample:
        """A class."""

        attribute: int = number

        def method(self, other: int = 1) -> int:
            return number + other

        @property
        def value(self) -> int:
            return self.method()

        @classmethod
        def make(cls) -> Any:
            return cls()

    def function(*args: Any, **kwargs: Any) -> Any:
        return Sample, args, kwargs

    return function, Sample, Sample(), lambda: number


def answer_in_kind() -> None:
    """Called by the other side: what goes to it from now on may be pickled by cloudpickle."""
    conn = engines.current()
    if conn is not None and conn._link.dumps is None:
        conn._link.dumps = get_dumps(CLOUDPICKLE)
