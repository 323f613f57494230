/* SPDX-License-Identifier: MIT */
/*
 * Loads the settings again for a reload: the configuration, the secret, and the TLS files.
 *
 * This may wait for a disk or the name service, so it is done in a background thread, in two steps. The first reads the
 * configuration and the files that it names, and reports them at once, whatever the second step finds: a secret or a
 * key that is replaced because somebody else knows it must stop being valid. If the configuration has an error, the
 * files already in use are read again. The second step checks everything else, which may need the name service.
 *
 * A request during a load starts another load afterwards, since the files may have changed after they were read; or at
 * once, if the present one has been stuck for AX_LOADER_STUCK_MS. A stuck thread is abandoned; there are at most
 * AX_LOADER_THREADS at a time.
 *
 * Used in the loop's thread.
 */
#ifndef AX_DAEMON_LOADER_H
#define AX_DAEMON_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/admission/identity.h"
#include "daemon/admission/secret.h"
#include "daemon/base/background.h"
#include "daemon/base/error_format.h"
#include "daemon/config/options.h"

#define AX_LOADER_STUCK_MS 10000u

/* Threads at a time, of which all but one are stuck. Each holds a stack and a copy of the settings. */
#define AX_LOADER_THREADS 4u

/* What was read. Owned; whoever takes over a member replaces it with NULL. */
struct ax_loaded {
    struct ax_options *options; /* NULL: there was an error, see `error` */
    char error[AX_ERROR_TEXT_SIZE];
    struct ax_secret *secret;              /* NULL: none is configured, or see `secret_error` */
    char secret_error[AX_ERROR_TEXT_SIZE]; /* why it could not be read, or "" */
    struct ax_identity *identity;
    char identity_error[AX_ERROR_TEXT_SIZE]; /* why there is no identity, or "" when none was wanted */
};

struct ax_loader_events {
    /*
     * The first step: secret and identity have been read, as far as that was possible. `options` and `error` are not
     * set yet.
     */
    void (*read)(void *owner, struct ax_loaded *loaded);
    /* The second step, after the first. */
    void (*loaded)(void *owner, struct ax_loaded *loaded);
};

struct ax_loader {
    uv_loop_t *loop; /* borrowed */
    int argc;
    char *const *argv;
    const struct ax_loader_events *events; /* borrowed */
    void *owner;
    struct ax_background background;
    /*
     * Owned: names of the files that secret and identity were read from last, and settings that only a restart changes.
     */
    struct ax_options known;
    bool wants_identity;
    bool is_due;       /* once more, when it is done */
    uint64_t begun_at; /* on the loop's clock */
};

/*
 * Each ax_loader_begin() leads to the events; if several overlap, `loaded` is called for the last one only. 0, or a
 * negative errno.
 */
int ax_loader_init(struct ax_loader *loader, uv_loop_t *loop, int argc, char *const *argv,
                   const struct ax_options *options, bool wants_identity, const struct ax_loader_events *events,
                   void *owner);

/* 0, or a negative errno; -EBUSY: too many threads are stuck; the load starts when the last one continues. */
int ax_loader_begin(struct ax_loader *loader);

/* No secret is demanded any more: its file is not read again if a later configuration has a mistake. */
void ax_loader_forget_secret(struct ax_loader *loader);

/* Closes the handle: the loop has to run until that is done. */
void ax_loader_close(struct ax_loader *loader);

void ax_loader_free_memory(struct ax_loader *loader);

#endif
