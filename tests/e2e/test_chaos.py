# SPDX-License-Identifier: MIT
"""The short form of the chaos: calls on 64 connections while processes of all kinds are killed at random."""

import pytest

from . import chaos

KILLS = 40
SEED = 1  # of which process is killed when; what the calls do meanwhile varies


def goes_on(now):
    killed = sum(now.kills.values()) >= KILLS and all(now.kills[kind] for kind in chaos.KINDS)
    return not killed or not now.has_disconnected()


@pytest.mark.more
def test_every_call_ends_once_whoever_is_killed(isolation, tmp_path):
    _, outcome = chaos.run(isolation, SEED, str(tmp_path), goes_on, pause=0.04)
    assert outcome.ends['results'] and outcome.ends['exceptions'] and outcome.ends['disconnects'] and outcome.callbacks
