# SPDX-License-Identifier: MIT
"""The engine in Python alone, for where the extension module is missing, and for hosts that have nothing but Python."""
