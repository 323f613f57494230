# SPDX-License-Identifier: MIT
"""Modules that one side has and the other imports; and this package itself, which a bare Python is sent."""
