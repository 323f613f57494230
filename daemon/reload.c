/* SPDX-License-Identifier: MIT */
#include "daemon/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/access.h"
#include "daemon/config.h"
#include "daemon/interpreter.h"

/* What the thread works with: nothing of it belongs to the supervisor but the command line, which nobody changes. */
struct task {
    struct ax_reload *reload; /* for the loop's thread */
    int argc;
    char *const *argv;
    enum ax_isolation isolation;
    bool run_as_peer;
    bool wants_identity;
    struct ax_reloaded loaded;
};

/* ---- in the thread ---- */

/* What is told now, but for what only a start can change. 0, or -1 with a sentence. */
static int load(const struct task *task, struct ax_options *options, struct ax_secret **secret, char *error,
                size_t size)
{
    struct ax_interpreter interpreter;

    if (ax_config_load(options, task->argc, task->argv, environ, true, error, size) < 0)
        return -1;
    options->isolation = task->isolation;
    options->run_as_peer = task->run_as_peer;
    if (ax_options_check(options, true, error, size) < 0 || ax_access_check(options, error, size) < 0 ||
        ax_interpreter_find(&interpreter, options, error, size) != AX_INTERPRETER_OK)
        return -1;
    ax_interpreter_fini(&interpreter);
    return ax_access_read_secret(options, secret, error, size);
}

static void load_identity(struct ax_reloaded *loaded)
{
    char reason[AX_SENTENCE_SIZE];

    if (!ax_identity_is_set(loaded->options)) {
        ax_sentence(loaded->identity_error, sizeof loaded->identity_error,
                    "there are no --tls-cert, --tls-key and --tls-client-ca any more");
        return;
    }
    loaded->identity = ax_identity_load(loaded->options, reason, sizeof reason);
    if (loaded->identity == NULL)
        ax_sentence(loaded->identity_error, sizeof loaded->identity_error, "cannot reload: %s", reason);
}

static void free_options(struct ax_options *options)
{
    if (options != NULL)
        ax_options_fini(options);
    free(options);
}

static void work(void *arg)
{
    struct task *task = arg;
    struct ax_reloaded *loaded = &task->loaded;

    ax_sentence(loaded->error, sizeof loaded->error, "out of memory");
    loaded->options = calloc(1, sizeof *loaded->options);
    if (loaded->options == NULL)
        return;
    if (load(task, loaded->options, &loaded->secret, loaded->error, sizeof loaded->error) < 0) {
        free_options(loaded->options);
        loaded->options = NULL;
    } else if (task->wants_identity) { /* addresses do not change, so there is TLS if there was */
        load_identity(loaded);
    }
}

static void drop(void *arg)
{
    struct task *task = arg;

    free_options(task->loaded.options);
    ax_secret_free(task->loaded.secret);
    ax_identity_free(task->loaded.identity);
    free(task);
}

/* ---- in the loop ---- */

static int begin(struct ax_reload *reload);

static void done(void *arg)
{
    struct task *task = arg;
    struct ax_reload *reload = task->reload;
    bool is_due = reload->is_due;

    reload->is_due = false;
    if (!is_due || begin(reload) < 0) /* what was read is better than nothing */
        reload->loaded(reload->owner, &task->loaded);
    drop(task);
}

static int begin(struct ax_reload *reload)
{
    struct task *task = calloc(1, sizeof *task);
    int code;

    if (task == NULL)
        return -ENOMEM;
    *task = (struct task){
        .reload = reload,
        .argc = reload->argc,
        .argv = reload->argv,
        .isolation = reload->isolation,
        .run_as_peer = reload->run_as_peer,
        .wants_identity = reload->wants_identity,
    };
    reload->begun_at = uv_now(reload->loop);
    code = ax_background_run(&reload->background, work, done, drop, task);
    if (code < 0)
        free(task);
    return code;
}

int ax_reload_begin(struct ax_reload *reload, const struct ax_options *options, bool wants_identity)
{
    reload->isolation = options->isolation;
    reload->run_as_peer = options->run_as_peer;
    reload->wants_identity = wants_identity;
    if (ax_background_is_busy(&reload->background)) {
        if (uv_now(reload->loop) - reload->begun_at < AX_RELOAD_STUCK_MS) {
            reload->is_due = true;
            return 0;
        }
        ax_background_abandon(&reload->background);
    }
    reload->is_due = false;
    return begin(reload);
}

int ax_reload_init(struct ax_reload *reload, uv_loop_t *loop, int argc, char *const *argv,
                   void (*loaded)(void *owner, struct ax_reloaded *loaded), void *owner)
{
    *reload = (struct ax_reload){.loop = loop, .argc = argc, .argv = argv, .loaded = loaded, .owner = owner};
    return ax_background_init(&reload->background, loop);
}

void ax_reload_close(struct ax_reload *reload)
{
    ax_background_close(&reload->background);
}
