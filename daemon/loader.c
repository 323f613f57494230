/* SPDX-License-Identifier: MIT */
#include "daemon/loader.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/admission/access.h"
#include "daemon/config/config.h"
#include "daemon/process/interpreter.h"

/* Threads that have not ended, including stuck ones that were abandoned. */
static atomic_uint threads;

/* What the thread works on: it shares only the command line with other threads, and that never changes. */
struct task {
    struct ax_loader *loader; /* for the loop's thread */
    int argc;
    char *const *argv;
    /* of the options in use: those that a reload cannot change, and the files of secret and identity */
    struct ax_options present;
    bool wants_identity;
    struct ax_options *options; /* what was read, but not checked; NULL: it could not be read */
    struct ax_loaded loaded;
};

/* ---- in the thread: the first step ---- */

/* The present configuration, except for options that only a restart can change. NULL with the error. */
static struct ax_options *read_options(const struct task *task, char *error, size_t size)
{
    struct ax_options *options = calloc(1, sizeof *options);

    if (options == NULL) {
        ax_error_format(error, size, "out of memory");
        return NULL;
    }
    if (ax_config_load(options, task->argc, task->argv, environ, true, error, size) < 0) {
        ax_options_free(options);
        return NULL;
    }
    options->isolation = task->present.isolation;
    options->run_as_peer = task->present.run_as_peer;
    ax_options_settle(options);
    return options;
}

static void load_identity(struct ax_loaded *loaded, const struct ax_options *options)
{
    char reason[AX_ERROR_TEXT_SIZE];

    if (!ax_options_have_identity(options)) {
        ax_error_format(loaded->identity_error, sizeof loaded->identity_error,
                        "there are no --tls-cert, --tls-key and --tls-client-ca any more");
        return;
    }
    loaded->identity = ax_identity_load(options, reason, sizeof reason);
    if (loaded->identity == NULL)
        ax_error_format(loaded->identity_error, sizeof loaded->identity_error, "cannot reload: %s", reason);
}

static void read_all(void *arg)
{
    struct task *task = arg;
    struct ax_loaded *loaded = &task->loaded;
    const struct ax_options *options;

    task->options = read_options(task, loaded->error, sizeof loaded->error);
    options = task->options != NULL ? task->options : &task->present;
    ax_access_read_secret(options, &loaded->secret, loaded->secret_error, sizeof loaded->secret_error);
    if (task->wants_identity) /* addresses do not change, so there is TLS if there was */
        load_identity(loaded, options);
}

/* ---- in the thread: the second step ---- */

/* 0, or -1 with the error. */
static int check(const struct ax_options *options, const char *secret_error, char *error, size_t size)
{
    struct ax_interpreter interpreter;

    if (ax_options_check(options, true, error, size) < 0 || ax_access_check(options, error, size) < 0 ||
        ax_interpreter_find(&interpreter, options, error, size) != AX_INTERPRETER_OK)
        return -1;
    ax_interpreter_fini(&interpreter);
    return secret_error[0] == '\0' ? 0 : ax_error_format(error, size, "%s", secret_error);
}

static void check_all(void *arg)
{
    struct task *task = arg;
    struct ax_loaded *loaded = &task->loaded;

    if (task->options == NULL || check(task->options, loaded->secret_error, loaded->error, sizeof loaded->error) < 0)
        return;
    loaded->options = task->options;
    task->options = NULL;
}

static void drop(void *arg)
{
    struct task *task = arg;

    ax_options_free(task->options);
    ax_options_free(task->loaded.options);
    ax_secret_free(task->loaded.secret);
    ax_identity_free(task->loaded.identity);
    ax_options_fini(&task->present);
    free(task);
    atomic_fetch_sub(&threads, 1);
}

/* ---- in the loop ---- */

static int begin(struct ax_loader *loader);

/* Starts the load that is due, if any. When that fails, what has been read is used after all. */
static bool begins_anew(struct ax_loader *loader)
{
    bool is_due = loader->is_due;

    loader->is_due = false;
    return is_due && begin(loader) == 0;
}

static void done(void *arg)
{
    struct task *task = arg;
    struct ax_loader *loader = task->loader;

    if (!begins_anew(loader))
        loader->events->loaded(loader->owner, &task->loaded);
    drop(task);
}

static bool copy_text(char **copy, const char *text)
{
    *copy = text != NULL ? strdup(text) : NULL;
    return text == NULL || *copy != NULL;
}

/* What `known` and `present` are to hold. False when there is no memory; what was copied is for ax_options_fini(). */
static bool copy_known(struct ax_options *copy, const struct ax_options *options)
{
    copy->isolation = options->isolation;
    copy->run_as_peer = options->run_as_peer;
    for (size_t i = 0; i < options->tls_allow_name.count; i++)
        if (ax_string_list_add(&copy->tls_allow_name, options->tls_allow_name.items[i]) < 0)
            return false;
    return copy_text(&copy->secret_file, options->secret_file) && copy_text(&copy->tls_cert, options->tls_cert) &&
           copy_text(&copy->tls_key, options->tls_key) && copy_text(&copy->tls_client_ca, options->tls_client_ca);
}

/*
 * From now on these are the files to read again. Without memory the old ones stay. A secret stays in use until the
 * reload is done.
 */
static void remember(struct ax_loader *loader, const struct ax_options *options)
{
    struct ax_options known = {0};

    if (!copy_known(&known, options) ||
        (known.secret_file == NULL && !copy_text(&known.secret_file, loader->known.secret_file))) {
        ax_options_fini(&known);
        return;
    }
    ax_options_fini(&loader->known);
    loader->known = known;
}

static void done_reading(void *arg)
{
    struct task *task = arg;
    struct ax_loader *loader = task->loader;
    int code;

    if (task->options != NULL && task->loaded.secret_error[0] == '\0')
        remember(loader, task->options);
    loader->events->read(loader->owner, &task->loaded);
    if (begins_anew(loader)) {
        drop(task);
        return;
    }
    code = ax_background_run(&loader->background, check_all, done, drop, task);
    if (code == 0)
        return;
    ax_error_format(task->loaded.error, sizeof task->loaded.error, "%s", strerror(-code));
    done(task);
}

static int begin(struct ax_loader *loader)
{
    struct task *task = calloc(1, sizeof *task);
    int code = -ENOMEM;

    if (task == NULL)
        return code;
    atomic_fetch_add(&threads, 1);
    task->loader = loader;
    task->argc = loader->argc;
    task->argv = loader->argv;
    task->wants_identity = loader->wants_identity;
    loader->begun_at = uv_now(loader->loop);
    if (copy_known(&task->present, &loader->known))
        code = ax_background_run(&loader->background, read_all, done_reading, drop, task);
    if (code < 0)
        drop(task);
    return code;
}

int ax_loader_begin(struct ax_loader *loader)
{
    if (ax_background_is_busy(&loader->background)) {
        bool is_stuck = uv_now(loader->loop) - loader->begun_at >= AX_LOADER_STUCK_MS;

        if (!is_stuck || atomic_load(&threads) >= AX_LOADER_THREADS) {
            loader->is_due = true;
            return is_stuck ? -EBUSY : 0;
        }
        ax_background_abandon(&loader->background);
    }
    loader->is_due = false;
    return begin(loader);
}

int ax_loader_init(struct ax_loader *loader, uv_loop_t *loop, int argc, char *const *argv,
                   const struct ax_options *options, bool wants_identity, const struct ax_loader_events *events,
                   void *owner)
{
    *loader = (struct ax_loader){
        .loop = loop, .argc = argc, .argv = argv, .events = events, .owner = owner, .wants_identity = wants_identity};
    if (!copy_known(&loader->known, options))
        return -ENOMEM;
    return ax_background_init(&loader->background, loop);
}

void ax_loader_close(struct ax_loader *loader)
{
    ax_background_close(&loader->background);
}

void ax_loader_forget_secret(struct ax_loader *loader)
{
    free(loader->known.secret_file);
    loader->known.secret_file = NULL;
}

void ax_loader_free_memory(struct ax_loader *loader)
{
    ax_options_fini(&loader->known);
}
