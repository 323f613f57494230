# SPDX-License-Identifier: MIT
"""Who is measured. Each has a file of its own, which also says how it is configured; `base` has what they share."""

NAMES = ('acrossd', 'plain_across', 'rpyc', 'pyro5', 'execnet', 'mitogen', 'managers')
"""Modules, each with a class `Contestant`."""
