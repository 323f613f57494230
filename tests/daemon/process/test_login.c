/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <sys/socket.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/process/login.h"
#include "embed/host.h"

/* The variables passed to the host, which is a stub here. */
static const char *first_variable;

void ax_host_set_variables(const char *const *variables)
{
    first_variable = variables[0];
}

static void test_an_environment_keeps_what_is_for_everybody(void **state)
{
    char *environment[] = {"PATH=/bin",      "TOKEN=1", "LANG=C",     "LC_ALL=C",    "LCX=1",
                           "PYTHONPATH=/x",  "HOME=/r", "TZ=UTC",     "PATHS=1",     "ACROSSD_USER=x",
                           "NOTIFY_SOCKET=", "USER=r",  "LD_DEBUG=1", "LANGUAGE=de", NULL};
    static const char *const kept[] = {"PATH=/bin", "LANG=C",     "LC_ALL=C",   "PYTHONPATH=/x",
                                       "TZ=UTC",    "LD_DEBUG=1", "LANGUAGE=de"};
    char **result = ax_login_make_environment(environment);
    (void)state;

    assert_non_null(result);
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        assert_string_equal(result[i], kept[i]);
    assert_null(result[COUNT_OF(kept)]);
    free(result);
}

static void test_a_peer_without_a_user_is_nobody_to_become(void **state)
{
    const struct ax_options options = {.run_as_peer = true};
    char error[AX_ERROR_TEXT_SIZE];
    int fds[2];
    (void)state;

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(ax_login_as_peer(&options, fds[0], error, sizeof error), -1);
    assert_string_equal(error, "The peer's user is unknown");
    assert_null(first_variable);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_environment_keeps_what_is_for_everybody),
        cmocka_unit_test(test_a_peer_without_a_user_is_nobody_to_become),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
