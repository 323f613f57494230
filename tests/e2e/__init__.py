# SPDX-License-Identifier: MIT
"""End-to-end tests: the real acrossd, driven by the package across and by its plain predecessor."""
