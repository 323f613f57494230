# SPDX-License-Identifier: MIT
"""
Measures one contestant, from a process of its own, and prints JSON.

driver.py CONTESTANT MEASURE TRANSPORT MODE CORES [quick]
"""

import importlib
import json
import os
import sys
import tempfile

import measures
from contestants.base import CannotError


def main() -> None:
    name, measure, transport, mode, cores, *quick = sys.argv[1:]
    contestant = importlib.import_module('contestants.' + name).Contestant()
    with tempfile.TemporaryDirectory() as folder:
        setting = measures.Setting(contestant, transport, mode, cores, bool(quick), folder)
        try:
            outcome = {'figures': getattr(measures, measure)(setting)}
        except CannotError as error:
            outcome = {'cannot': str(error)}
    print(json.dumps(outcome), flush=True)
    os._exit(0)  # some leave threads behind that would be waited for


main()
