# SPDX-License-Identifier: MIT
"""What calls carry: proxies, how values are pickled, and what a connection that trusts its peer little unpickles."""
