/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "daemon/admission/fd_budget.h"

static void check_within(size_t files, const struct ax_options *options, bool has_tls, size_t connections,
                         size_t handshakes)
{
    struct ax_fd_budget budget = ax_fd_budget_find(options, has_tls, files);

    assert_int_equal(budget.connections, connections);
    assert_int_equal(budget.handshakes, handshakes);
}

static void check(const struct ax_options *options, bool has_tls, size_t connections, size_t handshakes)
{
    check_within(1000, options, has_tls, connections, handshakes);
}

static void test_options_count_as_long_as_there_are_descriptors(void **state)
{
    struct ax_options options = {.max_connections = 50, .max_handshakes = 10};
    (void)state;

    check(&options, false, 50, 10);
    check(&options, true, 50, 10);
}

/* Handshakes get a quarter of 1000, the process itself needs 32, and each connection needs some. */
static void test_descriptors_bound_what_is_not_set(void **state)
{
    struct ax_options options = {.max_handshakes = 1024};
    (void)state;

    check(&options, false, (1000 - 250 - 32) / 3, 250);
    check(&options, true, (1000 - 250 - 32) / 5, 250);
    options.isolation = AX_ISOLATION_SHARED;
    check(&options, false, 1000 - 250 - 32, 250);
    check(&options, true, (1000 - 250 - 32) / 3, 250);
}

static void test_one_connection_always_fits(void **state)
{
    struct ax_options options = {.max_handshakes = 1024};
    (void)state;

    check_within(20, &options, false, 1, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_count_as_long_as_there_are_descriptors),
        cmocka_unit_test(test_descriptors_bound_what_is_not_set),
        cmocka_unit_test(test_one_connection_always_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
