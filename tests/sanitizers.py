# SPDX-License-Identifier: MIT
"""Which sanitizer's runtime is preloaded into this process and those that it starts."""

import os

PRELOADED = os.environ.get('LD_PRELOAD', '')
HAS_ASAN = 'asan' in PRELOADED  # AddressSanitizer: takes more memory, and keeps what is freed
HAS_TSAN = 'tsan' in PRELOADED
