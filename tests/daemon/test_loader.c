/* SPDX-License-Identifier: MIT */
/* Reloads, with a name service that answers when the test lets it. */
#include "testing.h"

#include <errno.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/loader.h"

static atomic_bool is_open; /* the name service answers */
static atomic_uint lookups, answered;

/* Replaces the C library's. */
int getpwnam_r(const char *name, struct passwd *user, char *texts, size_t size, struct passwd **result)
{
    (void)name;
    (void)user;
    (void)texts;
    (void)size;
    atomic_fetch_add(&lookups, 1);
    while (!atomic_load(&is_open))
        usleep(1000);
    *result = NULL;
    atomic_fetch_add(&answered, 1);
    return 0;
}

static uv_loop_t loop;
static uv_idle_t idle; /* a reload does not keep the loop alive */
static struct ax_loader loader;
static unsigned read_count, loaded_count;
static char secret[100]; /* of the one that was read last; "" for none */
static char error[AX_ERROR_TEXT_SIZE];

static void on_read(void *owner, struct ax_loaded *loaded)
{
    (void)owner;
    read_count++;
    secret[0] = '\0';
    if (loaded->secret != NULL)
        memcpy(secret, loaded->secret->bytes, loaded->secret->size + 1);
}

static void on_loaded(void *owner, struct ax_loaded *loaded)
{
    (void)owner;
    loaded_count++;
    assert_null(loaded->options); /* there is no such user */
    memcpy(error, loaded->error, sizeof error);
}

static char folder[] = "/tmp/ax-reload-XXXXXX";
static char secret_option[100], config_option[100];
static char *argv[] = {"acrossd", "--listen=unix:x", "--user=somebody", config_option, NULL};

static void write_file(const char *name, const char *text)
{
    char path[100];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    chmod(path, 0600);
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle;
}

static int set_up(void **state)
{
    static const struct ax_loader_events events = {.read = on_read, .loaded = on_loaded};
    struct ax_options options = {0};
    (void)state;

    atomic_store(&is_open, true);
    read_count = loaded_count = 0;
    snprintf(secret_option, sizeof secret_option, "secret-file = %s/secret\n", folder);
    snprintf(config_option, sizeof config_option, "--config=%s/conf", folder);
    write_file("conf", secret_option);
    write_file("secret", "the first secret of all");
    assert_int_equal(uv_loop_init(&loop), 0);
    uv_idle_init(&loop, &idle);
    uv_idle_start(&idle, on_idle);
    return ax_loader_init(&loader, &loop, 4, argv, &options, false, &events, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    ax_loader_close(&loader);
    uv_close((uv_handle_t *)&idle, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    ax_loader_free_memory(&loader);
    return uv_loop_close(&loop);
}

static void run_until(unsigned *count, unsigned wanted)
{
    while (*count < wanted) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(*count, wanted);
}

static void await_lookups(unsigned wanted)
{
    while (atomic_load(&lookups) < wanted) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static void test_a_secret_is_told_before_the_rest_is_checked(void **state)
{
    (void)state;
    atomic_store(&is_open, false);
    assert_int_equal(ax_loader_begin(&loader), 0);
    run_until(&read_count, 1);
    assert_string_equal(secret, "the first secret of all");
    assert_int_equal(loaded_count, 0);
    atomic_store(&is_open, true);
    run_until(&loaded_count, 1);
    assert_contains(error, "somebody");
}

static void test_a_configuration_with_a_mistake_leaves_the_names_of_the_files(void **state)
{
    (void)state;
    assert_int_equal(ax_loader_begin(&loader), 0);
    run_until(&loaded_count, 1);
    write_file("conf", "no-such-setting = 1\n");
    write_file("secret", "the second secret of all");
    assert_int_equal(ax_loader_begin(&loader), 0);
    run_until(&loaded_count, 2);
    assert_string_equal(secret, "the second secret of all");
    assert_contains(error, "no-such-setting");

    ax_loader_forget_secret(&loader);
    assert_int_equal(ax_loader_begin(&loader), 0);
    run_until(&loaded_count, 3);
    assert_string_equal(secret, "");
}

static void test_threads_that_are_stuck_are_few(void **state)
{
    unsigned before = atomic_load(&lookups);
    (void)state;

    assert_int_equal(before, atomic_load(&answered));
    atomic_store(&is_open, false);
    for (unsigned i = 1; i <= AX_LOADER_THREADS; i++) {
        assert_int_equal(ax_loader_begin(&loader), 0);
        await_lookups(before + i);
        assert_int_equal(ax_loader_begin(&loader), 0); /* it is due afterwards */
        loader.begun_at -= AX_LOADER_STUCK_MS;
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(ax_loader_begin(&loader), -EBUSY);
    assert_int_equal(atomic_load(&lookups), before + AX_LOADER_THREADS);
    assert_int_equal(loaded_count, 0);

    atomic_store(&is_open, true);
    run_until(&loaded_count, 1); /* a single one for all requests meanwhile */
    assert_int_equal(atomic_load(&lookups), before + AX_LOADER_THREADS + 1);
}

static int remove_folder(void **state)
{
    char command[100];
    (void)state;

    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_secret_is_told_before_the_rest_is_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_configuration_with_a_mistake_leaves_the_names_of_the_files, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_threads_that_are_stuck_are_few, set_up, tear_down),
    };

    if (mkdtemp(folder) == NULL)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
