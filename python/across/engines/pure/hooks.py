# SPDX-License-Identifier: MIT
"""What the package hands to the engine: exception classes, and functions that know about values."""

from __future__ import annotations

import types
from typing import Any

hooks = types.SimpleNamespace()  # set by install()


def install(**functions: Any) -> None:
    """Set what the engine needs from the package."""
    hooks.__dict__.update(functions)
