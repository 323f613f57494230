# SPDX-License-Identifier: MIT
"""The short form of dev/torture: a few points of each scenario, always the same; and those that went wrong once."""

import concurrent.futures
import functools

import pytest
from e2e import daemon as daemons

from . import judge, scenarios, sweep, symbols

POINTS = 8  # of each scenario: a tenth of a second each
JOBS = 2

# What failed where, and what came of it once: scenario, role, function, and one of the functions that led to it.
REGRESSIONS = [
    ('call', 'worker', 'calloc', 'serve'),  # hung: the worker dropped a connection, and told nobody
    ('call', 'worker', 'sendmsg', 'ax_request_result'),  # hung: a result that could not be written
    ('call', 'zygote', 'sendmsg', 'ax_zygote_run'),  # hung: a zygote that could not say that it was ready
    ('call', 'worker', 'sendmsg', 'tell_ready'),  # the same of a worker
    ('payload', 'worker', 'calloc', 'answer'),  # hung: no answer for a large result
    ('stdio', 'stdio', 'sendmsg', 'send_connection'),  # hung: a worker that never got its connection
    ('client', 'client', 'readv', 'ax_stream_read'),  # leaked: a connection that broke was never collected
]

pytestmark = [
    pytest.mark.more,
    pytest.mark.skipif(not daemons.BUILD, reason='AX_BUILD_DIR does not name a build of acrossd'),
]


@pytest.fixture(scope='module', autouse=True)
def can_be_tortured():
    problem = judge.find_problem(sweep.SHIM)
    if problem:
        pytest.skip(problem)


@functools.lru_cache(None)
def learn(name):
    """What is known of a scenario, from runs in which nothing fails."""
    return sweep.Learned(next(scenario for scenario in scenarios.ALL if scenario.name == name))


def try_all(learned, points):
    with concurrent.futures.ThreadPoolExecutor(JOBS) as executor:
        results = list(executor.map(learned.try_point, points))
    bad = [str(result) for result in results if not result.verdict.is_good]
    assert not bad, '\n'.join(bad)
    assert any(result.verdict.outcome != 'not reached' for result in results)


def in_group(name, *params):
    """Parameters of a test of that scenario; one process runs all of them, and learns the scenario once."""
    return pytest.param(name, *params, marks=pytest.mark.xdist_group('torture ' + name))


@pytest.mark.parametrize('name', [in_group(scenario.name) for scenario in scenarios.ALL])
def test_a_few_points(name):
    learned = learn(name)
    try_all(learned, sweep.spread(learned.first_points())[:POINTS])


@pytest.mark.parametrize(('name', 'role', 'function', 'caller'), [in_group(*each) for each in REGRESSIONS])
def test_a_point_that_went_wrong_once(name, role, function, caller):
    learned = learn(name)
    points = [
        point
        for point in learned.points()
        if (point.site.role, point.site.function.name, point.call) == (role, function, 1)
        and caller in symbols.name_functions(point.site)
    ]
    assert points, 'the call is not made any more'
    try_all(learned, points)
