/* SPDX-License-Identifier: MIT */
/*
 * Reads again what a supervisor was started with: the configuration, the secret, and the certificates of TLS.
 *
 * That may have to wait for a disk or the name service, so it is done in a thread beside the loop. Asked again meanwhile, it
 * begins anew afterwards, for the files may have changed since it looked; or at once, if it has been stuck for
 * AX_RELOAD_STUCK_MS.
 *
 * Used in the loop's thread.
 */
#ifndef AX_DAEMON_RELOAD_H
#define AX_DAEMON_RELOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/background.h"
#include "daemon/identity.h"
#include "daemon/options.h"
#include "daemon/secret.h"
#include "daemon/sentence.h"

#define AX_RELOAD_STUCK_MS 10000u

/* What was read. Owned; who takes something out of it puts NULL in its place. */
struct ax_reloaded {
    struct ax_options *options; /* NULL: there was a mistake, of which `error` tells, and nothing else counts */
    struct ax_secret *secret;   /* NULL: none is demanded */
    struct ax_identity *identity;
    char error[AX_SENTENCE_SIZE];
    char identity_error[AX_SENTENCE_SIZE]; /* why there is no identity, or "" when none was wanted */
};

struct ax_reload {
    uv_loop_t *loop; /* borrowed */
    int argc;
    char *const *argv;
    void (*loaded)(void *owner, struct ax_reloaded *loaded);
    void *owner;
    struct ax_background background;
    enum ax_isolation isolation; /* this and what follows does not change before another start */
    bool run_as_peer;
    bool wants_identity;
    bool is_due;       /* once more, when it is done */
    uint64_t begun_at; /* on the loop's clock */
};

/* `loaded` is called for each ax_reload_begin(), but of several at a time only for the last one. 0, or a negative errno. */
int ax_reload_init(struct ax_reload *reload, uv_loop_t *loop, int argc, char *const *argv,
                   void (*loaded)(void *owner, struct ax_reloaded *loaded), void *owner);

/* `options`: those at present, as some settings do not change. 0, or a negative errno. */
int ax_reload_begin(struct ax_reload *reload, const struct ax_options *options, bool wants_identity);

/* Closes the handle: the loop has to run until that is done. */
void ax_reload_close(struct ax_reload *reload);

#endif
