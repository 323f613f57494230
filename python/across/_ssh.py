# SPDX-License-Identifier: MIT
"""A name that pickles look up in this module: an exception that a call may raise. channels/ssh.py defines it."""

from .channels.ssh import SshError

__all__ = ['SshError']
