# SPDX-License-Identifier: MIT
"""Functions that pickle cannot name, lambdas for one, cross by value where both sides have the package cloudpickle.

A connection with `Options(pickler='cloudpickle')` pickles with it from the start. With its first call it asks the
other side whether it can read that, and to answer in kind: by a snippet, which any peer can execute. One that
has this package does from then on; plain across goes on with pickle.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Callable, Optional

from . import _engine
from ._errors import OperationError
from ._remote import _execute

CLOUDPICKLE = 'cloudpickle'

# By value a function is its byte code, which is another one in every version of Python.
_QUESTION = """
import sys
try:
    import cloudpickle
except ImportError:
    cloudpickle = None
else:
    try:
        from across._picklers import answer_in_kind
    except ImportError:
        pass
    else:
        answer_in_kind()
cloudpickle is not None, sys.implementation.cache_tag
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


def ask(link: _engine.Link) -> None:
    """Find out whether the other side can read functions by value; ask it to send them like that, too."""
    found, there = link.apply(_execute, (_QUESTION, {}), {})
    here = sys.implementation.cache_tag
    if not found:
        raise OperationError('Functions cannot cross by value: the other side has no package cloudpickle')
    if here != there:
        raise OperationError('Functions cannot cross by value between {} here and {} there'.format(here, there))


def answer_in_kind() -> None:
    """Called by the other side: what goes to it from now on may be pickled by cloudpickle."""
    conn = _engine.current()
    if conn is not None and conn._link.dumps is None:
        conn._link.dumps = get_dumps(CLOUDPICKLE)
