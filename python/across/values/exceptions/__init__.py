# SPDX-License-Identifier: MIT
"""How exceptions and their tracebacks travel, and what arrives of those that cannot be made at the other side."""
