/* SPDX-License-Identifier: MIT */
#include "daemon/reload.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/notify.h"

/* ---- what the loader has read ---- */

/* New handshakes use what the files hold now; those under way end with what they began with. */
static void take_identity(struct ax_reload *reload, struct ax_loaded *loaded)
{
    if (loaded->identity == NULL) {
        if (loaded->identity_error[0] != '\0')
            ax_log(AX_LOG_ERROR, "%s: TLS goes on with the certificates that it has", loaded->identity_error);
        return;
    }
    ax_admission_set_identity(reload->admission, loaded->identity);
    loaded->identity = NULL;
}

/*
 * A new secret is in use from now on, whether or not the rest of the reload succeeds. When none is demanded any more,
 * the old one stays until the new settings are in use; when the file cannot be read, it stays for good.
 */
static void take_secret(struct ax_reload *reload, struct ax_loaded *loaded)
{
    const struct ax_secret *old = reload->admission->secret;
    const struct ax_secret *new = loaded->secret;

    if (new == NULL) {
        if (loaded->secret_error[0] != '\0' && old != NULL)
            ax_log(AX_LOG_ERROR, "%s: the secret stays the one that was read before", loaded->secret_error);
        return;
    }
    if (old == NULL || old->size != new->size || memcmp(old->bytes, new->bytes, new->size) != 0)
        ax_log(AX_LOG_INFO, "the secret has changed: new connections over TCP need the new one");
    ax_admission_set_secret(reload->admission, loaded->secret);
    loaded->secret = NULL;
}

static void on_read(void *owner, struct ax_loaded *loaded)
{
    struct ax_reload *reload = owner;

    if (reload->is_stopped)
        return;
    take_secret(reload, loaded);
    take_identity(reload, loaded);
}

static void on_loaded(void *owner, struct ax_loaded *loaded)
{
    struct ax_reload *reload = owner;

    if (reload->is_stopped)
        return;
    if (loaded->options == NULL) {
        ax_log(AX_LOG_ERROR, "cannot reload: %s", loaded->error);
        ax_notify_ready(NULL);
        return;
    }
    ax_options_free(reload->reloading); /* of a reload that is not done yet, and is replaced */
    reload->reloading = loaded->options;
    loaded->options = NULL;
    ax_pool_reload(reload->pool, reload->reloading);
}

/* ---- its course ---- */

void ax_reload_begin(struct ax_reload *reload)
{
    int code;

    ax_notify_reloading();
    code = ax_loader_begin(&reload->loader);
    if (code == 0)
        return;
    ax_log(AX_LOG_ERROR, "cannot reload: %s",
           code == -EBUSY ? "several reloads before this one still wait for a disk or the name service. It begins when "
                            "the last of them can go on"
                          : strerror(-code));
    ax_notify_ready(NULL);
}

static void use_reloading(struct ax_reload *reload)
{
    if (reload->reloading->secret_file == NULL) { /* any other secret is in use already: see take_secret() */
        ax_admission_set_secret(reload->admission, NULL);
        ax_loader_forget_secret(&reload->loader);
    }
    ax_options_free(reload->reloaded);
    reload->options = reload->reloaded = reload->reloading;
    ax_admission_set_timeout(reload->admission, reload->options->handshake_timeout_ms);
    ax_log(AX_LOG_INFO, "reloaded: new connections get new workers");
}

void ax_reload_finish(struct ax_reload *reload, bool done)
{
    if (done) {
        use_reloading(reload);
    } else {
        ax_options_free(reload->reloading);
        ax_log(AX_LOG_ERROR, "the reload failed: new connections get workers as before");
    }
    reload->reloading = NULL;
    ax_notify_ready(NULL);
}

void ax_reload_stop(struct ax_reload *reload)
{
    reload->is_stopped = true;
}

/* ---- life ---- */

int ax_reload_init(struct ax_reload *reload, uv_loop_t *loop, int argc, char *const *argv,
                   const struct ax_options *options, struct ax_admission *admission, struct ax_pool *pool)
{
    static const struct ax_loader_events events = {.read = on_read, .loaded = on_loaded};

    *reload = (struct ax_reload){.admission = admission, .pool = pool, .options = options};
    return ax_loader_init(&reload->loader, loop, argc, argv, options, admission->identity != NULL, &events, reload);
}

void ax_reload_close(struct ax_reload *reload)
{
    ax_loader_close(&reload->loader);
}

void ax_reload_free_memory(struct ax_reload *reload)
{
    ax_loader_free_memory(&reload->loader);
    ax_options_free(reload->reloaded);
    ax_options_free(reload->reloading);
}
