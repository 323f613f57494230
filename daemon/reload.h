/* SPDX-License-Identifier: MIT */
/*
 * A reload: from SIGHUP until new connections use the new settings, or until it has failed.
 *
 * The loader reads the configuration, the secret and the TLS files. A secret and an identity are in use as soon as they
 * have been read. A new zygote is started with the settings, and they are in use when it is ready, which the pool
 * reports by ax_reload_finish(). A reload that fails changes no setting. The service manager is told when a reload
 * begins and ends.
 *
 * Used in the loop's thread. Errors are logged.
 */
#ifndef AX_DAEMON_RELOAD_H
#define AX_DAEMON_RELOAD_H

#include <stdbool.h>

#include <uv.h>

#include "daemon/admission/admission.h"
#include "daemon/config/options.h"
#include "daemon/loader.h"
#include "daemon/process/pool.h"

struct ax_reload {
    struct ax_loader loader;
    struct ax_admission *admission;   /* borrowed */
    struct ax_pool *pool;             /* borrowed */
    const struct ax_options *options; /* those in use: borrowed from the caller of ax_reload_init(), or `reloaded` */
    struct ax_options *reloaded;      /* owned: what `options` is after a reload; else NULL */
    struct ax_options *reloading;     /* owned: what it will be when the pool is ready; or NULL */
    bool is_stopped;
};

/*
 * `options` are those that the process was started with, and the command line is what they come from. The loader reads
 * an identity again if the admission has one by now. 0, or a negative errno.
 */
int ax_reload_init(struct ax_reload *reload, uv_loop_t *loop, int argc, char *const *argv,
                   const struct ax_options *options, struct ax_admission *admission, struct ax_pool *pool);

void ax_reload_begin(struct ax_reload *reload);

/* For ax_pool_events.reloaded. */
void ax_reload_finish(struct ax_reload *reload, bool done);

/* Ignores from now on what the loader reads. The options in use stay. */
void ax_reload_stop(struct ax_reload *reload);

/* Closes the handle: the loop has to run until that is done, before _free_memory. */
void ax_reload_close(struct ax_reload *reload);
void ax_reload_free_memory(struct ax_reload *reload);

#endif
