# SPDX-License-Identifier: MIT
"""Transports: how the bytes of a connection travel. Sockets, pipes, child processes, ssh and TLS."""
