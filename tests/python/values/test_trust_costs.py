# SPDX-License-Identifier: MIT
"""The short form of the oracle in trust_costs.py, and the charges that it cannot see one by one."""

import collections
import os
import subprocess
import sys

import pytest
from sanitizers import HAS_ASAN

import across
from across.values import budget, trust

from . import trust_costs as costs

needs_plain_memory = pytest.mark.skipif(HAS_ASAN, reason='what AddressSanitizer takes is no cost of a pickle')


def run_costs(*options):
    """In a process that has no threads: it forks."""
    package = os.path.dirname(across.__path__[0])
    env = dict(os.environ, PYTHONPATH=package, ACROSS_ENGINE=across.engines.name)
    done = subprocess.run(
        [sys.executable, costs.__file__, *options], env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0 and ', 0 exceed the bound' in done.stdout, done.stdout + done.stderr


@needs_plain_memory
def test_each_sample_keeps_to_the_bound():
    run_costs('--sizes', '2000')


@pytest.mark.more
@needs_plain_memory
def test_generated_inputs_keep_to_the_bound():
    run_costs('--inputs', '150', '--seed', '1')


def load(data, *trusted):
    return trust.make_loads(trusted)(data, False)


def refuse(data, *trusted, match):
    with pytest.raises(trust.UnpicklingError, match=match):
        load(data, *trusted)


@pytest.mark.parametrize(
    'name', [name for name in costs.SAMPLES if name.startswith('nested ') and 'refused' not in name]
)
def test_depth_is_bounded_where_dropping_recurses(name):
    shallow, deep = costs.SAMPLES[name][0](500), costs.SAMPLES[name][0](20000)
    assert load(shallow, *costs.TRUSTED) is not None
    if 'deque' in name or 'defaultdict' in name:
        refuse(deep, match='inside each other')
    else:
        assert load(deep, *costs.TRUSTED) is not None


def test_many_deques_beside_each_other_are_no_depth():
    value = collections.deque(collections.deque([index]) for index in range(500))
    assert load(costs.pickle.dumps(value, 4)) == value


def test_deques_in_a_circle_are_refused_and_dropped():
    refuse(costs.SAMPLES['deques in a circle'][0](20000), match='inside each other')


def test_the_time_that_numbers_take_as_keys_is_charged(monkeypatch):
    data = costs.pickle.dumps(dict.fromkeys(range(5000)), 4)
    assert len(load(data)) == 5000
    now = iter(range(0, 10**12, 10**8))  # 0.1 s for each batch
    monkeypatch.setattr(budget, '_clock', lambda: next(now))
    refuse(data, match='more work')
    assert len(load(costs.pickle.dumps({str(index): index for index in range(5000)}, 4))) == 5000


def test_keys_of_one_hash_are_charged_in_small_tables():
    made = (b'h\0)\x81}h\1' + key + b'sb' for key in costs.collide(250))
    data = costs.keep(costs.of(costs.uuid.UUID), costs.text('int')) + b'\x8f(' + b''.join(made) + b'\x90.'
    refuse(data, match='more work')


def test_honest_values_are_within_the_budget():
    rows = [costs.Row(index, costs.Key(index, 'x')) for index in range(2000)]
    values = [
        rows, {(index, str(index), (index,)): index for index in range(5000)}, set(range(-5000, 5000)),
        {frozenset([index, -index]) for index in range(3000)}, {costs.Key(index, 1): index for index in range(3000)},
        {(x, y, z) for x in (-1, -2, 0) for y in (-1, -2, 0) for z in (-1, -2, 0)},
        [costs.pathlib.PurePosixPath('/home/somebody/project/folder', str(index)) for index in range(2000)],
        [{'a': index, 'b': {index: index}} for index in range(3000)], {1 << 4096: 'key'}, frozenset(range(5000)),
        [bytearray(1000)] * 100, collections.Counter(range(3000)), [costs.Color.RED, costs.Number.ONE] * 1000,
    ]  # fmt: skip
    for value in values:
        for protocol in (3, 4, 5):
            assert load(costs.pickle.dumps(value, protocol), *costs.TRUSTED) == value
