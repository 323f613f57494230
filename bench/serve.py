# SPDX-License-Identifier: MIT
"""A contestant's server: serve.py NAME ADDRESS MODE."""

import importlib
import sys

module = importlib.import_module('contestants.' + sys.argv[1])
module.Contestant().serve(sys.argv[2], sys.argv[3])
