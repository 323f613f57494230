# SPDX-License-Identifier: MIT
"""Processes that serve connections: workers of acrossd, children of servers, and bootstrapped hosts."""
