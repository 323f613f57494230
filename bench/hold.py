# SPDX-License-Identifier: MIT
"""Holds idle connections to a contestant's server, until its standard input ends: hold.py CONTESTANT ADDRESS COUNT."""

import importlib
import os
import resource
import sys

name, address, count = sys.argv[1:]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
contestant = importlib.import_module('contestants.' + name).Contestant()
peers = [contestant.connect(address) for _ in range(int(count))]
for peer in peers:
    peer.null()
print('ready', flush=True)
sys.stdin.read()
os._exit(0)
