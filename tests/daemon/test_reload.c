/* SPDX-License-Identifier: MIT */
/* What a reload changes, and when: the loader, the pool and the admission are replaced by what records their calls. */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/notify.h"
#include "daemon/reload.h"

/* ---- what reload.c calls, in place of the real functions ---- */

static const struct ax_loader_events *events;
static void *owner;
static int begin_code;
static unsigned begun, forgotten;
static const struct ax_options *pooled; /* given to the pool last */
static unsigned reloading, ready;       /* messages to the service manager */
static uint32_t timeout_ms;

int ax_loader_init(struct ax_loader *loader, uv_loop_t *loop, int argc, char *const *argv,
                   const struct ax_options *options, bool wants_identity, const struct ax_loader_events *its_events,
                   void *its_owner)
{
    (void)loader, (void)loop, (void)argc, (void)argv, (void)options, (void)wants_identity;
    events = its_events;
    owner = its_owner;
    return 0;
}

int ax_loader_begin(struct ax_loader *loader)
{
    (void)loader;
    begun++;
    return begin_code;
}

void ax_loader_forget_secret(struct ax_loader *loader)
{
    (void)loader;
    forgotten++;
}

void ax_loader_close(struct ax_loader *loader)
{
    (void)loader;
}

void ax_loader_free_memory(struct ax_loader *loader)
{
    (void)loader;
}

void ax_pool_reload(struct ax_pool *pool, const struct ax_options *options)
{
    (void)pool;
    pooled = options;
}

void ax_admission_set_secret(struct ax_admission *admission, struct ax_secret *secret)
{
    free(admission->secret);
    admission->secret = secret;
}

void ax_admission_set_identity(struct ax_admission *admission, struct ax_identity *identity)
{
    free(admission->identity);
    admission->identity = identity;
}

void ax_admission_set_timeout(struct ax_admission *admission, uint32_t new_timeout_ms)
{
    (void)admission;
    timeout_ms = new_timeout_ms;
}

void ax_notify_reloading(void)
{
    reloading++;
}

void ax_notify_ready(const char *status)
{
    assert_null(status);
    ready++;
}

/* ---- a reload ---- */

static struct ax_admission admission;
static struct ax_pool pool;
static struct ax_reload reload;
static const struct ax_options first_options = {.handshake_timeout_ms = 1};
static int log_fds[2];

static int set_up(void **state)
{
    (void)state;

    assert_int_equal(pipe2(log_fds, O_CLOEXEC | O_NONBLOCK), 0);
    ax_log_init(log_fds[1], AX_LOG_INFO);
    begin_code = 0;
    begun = forgotten = reloading = ready = 0;
    timeout_ms = 0;
    pooled = NULL;
    memset(&admission, 0, sizeof admission);
    return ax_reload_init(&reload, NULL, 0, NULL, &first_options, &admission, &pool);
}

static int tear_down(void **state)
{
    (void)state;

    ax_reload_close(&reload);
    ax_reload_free_memory(&reload);
    ax_admission_set_secret(&admission, NULL);
    ax_admission_set_identity(&admission, NULL);
    ax_log_fini();
    close(log_fds[0]);
    close(log_fds[1]);
    return 0;
}

/* What has been logged since the last time. */
static void assert_log(const char *wanted)
{
    char text[1000];
    ssize_t size = read(log_fds[0], text, sizeof text - 1);

    text[size > 0 ? size : 0] = '\0';
    assert_string_equal(text, wanted);
}

static struct ax_secret *new_secret(const char *text)
{
    struct ax_secret *secret = calloc(1, sizeof *secret);

    assert_non_null(secret);
    secret->size = strlen(text);
    memcpy(secret->bytes, text, secret->size);
    return secret;
}

static struct ax_options *new_options(uint32_t handshake_ms, const char *secret_file)
{
    struct ax_options *options = calloc(1, sizeof *options);

    assert_non_null(options);
    options->handshake_timeout_ms = handshake_ms;
    options->secret_file = secret_file != NULL ? strdup(secret_file) : NULL;
    return options;
}

/* The loader has read this secret, and nothing else. */
static void read_secret(const char *text)
{
    struct ax_loaded loaded = {.secret = new_secret(text)};

    events->read(owner, &loaded);
    assert_null(loaded.secret); /* it has been taken over */
}

/* The loader has found settings without a mistake. */
static struct ax_options *load(uint32_t handshake_ms, const char *secret_file)
{
    struct ax_loaded loaded = {.options = new_options(handshake_ms, secret_file)};
    struct ax_options *options = loaded.options;

    events->loaded(owner, &loaded);
    assert_null(loaded.options);
    return options;
}

static void assert_secret(const char *text)
{
    assert_non_null(admission.secret);
    assert_int_equal(admission.secret->size, strlen(text));
    assert_memory_equal(admission.secret->bytes, text, strlen(text));
}

/* ---- tests ---- */

static void test_settings_are_in_use_when_the_pool_is_ready(void **state)
{
    struct ax_options *options;
    (void)state;

    ax_reload_begin(&reload);
    assert_int_equal(begun, 1);
    assert_int_equal(reloading, 1);
    options = load(5000, "secret");
    assert_ptr_equal(pooled, options);
    assert_ptr_equal(reload.options, &first_options);
    assert_int_equal(ready, 0);
    ax_reload_finish(&reload, true);
    assert_ptr_equal(reload.options, options);
    assert_int_equal(timeout_ms, 5000);
    assert_int_equal(forgotten, 0);
    assert_int_equal(ready, 1);
    assert_log("acrossd: reloaded: new connections get new workers\n");
}

static void test_one_that_fails_changes_no_setting(void **state)
{
    (void)state;

    ax_reload_begin(&reload);
    load(5000, NULL);
    ax_reload_finish(&reload, false);
    assert_ptr_equal(reload.options, &first_options);
    assert_int_equal(timeout_ms, 0);
    assert_int_equal(ready, 1);
    assert_log("acrossd: the reload failed: new connections get workers as before\n");
}

static void test_a_mistake_in_the_settings_ends_it(void **state)
{
    struct ax_loaded loaded = {.error = "line 3: no such setting"};
    (void)state;

    ax_reload_begin(&reload);
    events->loaded(owner, &loaded);
    assert_null(pooled);
    assert_ptr_equal(reload.options, &first_options);
    assert_int_equal(ready, 1);
    assert_log("acrossd: cannot reload: line 3: no such setting\n");
}

static void test_one_that_cannot_begin_is_over(void **state)
{
    (void)state;

    begin_code = -EAGAIN;
    ax_reload_begin(&reload);
    assert_int_equal(reloading, 1);
    assert_int_equal(ready, 1);
    assert_log("acrossd: cannot reload: Resource temporarily unavailable\n");
    begin_code = -EBUSY;
    ax_reload_begin(&reload);
    assert_int_equal(ready, 2);
    assert_log("acrossd: cannot reload: several reloads before this one still wait for a disk or the name service. It "
               "begins when the last of them can go on\n");
}

/* The one that is replaced is freed: a sanitizer would tell. */
static void test_the_newest_settings_win(void **state)
{
    struct ax_options *options;
    (void)state;

    load(1000, NULL);
    options = load(2000, NULL);
    assert_ptr_equal(pooled, options);
    ax_reload_finish(&reload, true);
    assert_ptr_equal(reload.options, options);
    load(3000, NULL);
    ax_reload_finish(&reload, true);
    assert_int_equal(timeout_ms, 3000);
}

static void test_a_new_secret_is_in_use_at_once(void **state)
{
    struct ax_loaded mistaken = {.error = "a mistake"};
    (void)state;

    read_secret("the first secret of all");
    assert_secret("the first secret of all");
    assert_log("acrossd: the secret has changed: new connections over TCP need the new one\n");
    read_secret("the first secret of all");
    assert_log("");                         /* it is the same */
    read_secret("the first secret of ale"); /* as long as the other one */
    assert_secret("the first secret of ale");
    events->loaded(owner, &mistaken);
    load(1000, "secret");
    ax_reload_finish(&reload, false);
    assert_secret("the first secret of ale"); /* whatever becomes of the rest */
}

static void test_a_secret_that_cannot_be_read_stays(void **state)
{
    struct ax_loaded loaded = {.secret_error = "the file is gone"};
    (void)state;

    events->read(owner, &loaded);
    assert_log(""); /* there is none that could stay */
    read_secret("the first secret of all");
    assert_log("acrossd: the secret has changed: new connections over TCP need the new one\n");
    events->read(owner, &loaded);
    assert_secret("the first secret of all");
    assert_log("acrossd: the file is gone: the secret stays the one that was read before\n");
}

static void test_a_secret_is_demanded_until_settings_without_one_are_in_use(void **state)
{
    struct ax_loaded nothing = {.secret = NULL};
    (void)state;

    read_secret("the first secret of all");
    events->read(owner, &nothing);
    load(1000, NULL);
    assert_secret("the first secret of all");
    ax_reload_finish(&reload, false);
    assert_secret("the first secret of all");
    load(1000, NULL);
    ax_reload_finish(&reload, true);
    assert_null(admission.secret);
    assert_int_equal(forgotten, 1);
}

static void test_an_identity_is_in_use_at_once_if_it_could_be_read(void **state)
{
    struct ax_identity *identity = calloc(1, sizeof *identity);
    struct ax_loaded loaded = {.identity = identity};
    struct ax_loaded failed = {.identity_error = "the key does not belong to the certificate"};
    (void)state;

    events->read(owner, &loaded);
    assert_null(loaded.identity);
    assert_ptr_equal(admission.identity, identity);
    assert_log("");
    events->read(owner, &failed);
    assert_ptr_equal(admission.identity, identity);
    assert_log("acrossd: the key does not belong to the certificate: TLS goes on with the certificates that it has\n");
}

static void test_nothing_changes_after_a_stop(void **state)
{
    struct ax_loaded loaded = {.secret = new_secret("the first secret of all")};
    (void)state;

    ax_reload_stop(&reload);
    events->read(owner, &loaded);
    assert_null(admission.secret);
    loaded.options = new_options(1000, NULL);
    events->loaded(owner, &loaded);
    assert_null(pooled);
    assert_ptr_equal(reload.options, &first_options);
    assert_log("");
    free(loaded.secret); /* both are still the loader's */
    ax_options_free(loaded.options);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_settings_are_in_use_when_the_pool_is_ready),
        TEST(test_one_that_fails_changes_no_setting),
        TEST(test_a_mistake_in_the_settings_ends_it),
        TEST(test_one_that_cannot_begin_is_over),
        TEST(test_the_newest_settings_win),
        TEST(test_a_new_secret_is_in_use_at_once),
        TEST(test_a_secret_that_cannot_be_read_stays),
        TEST(test_a_secret_is_demanded_until_settings_without_one_are_in_use),
        TEST(test_an_identity_is_in_use_at_once_if_it_could_be_read),
        TEST(test_nothing_changes_after_a_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
