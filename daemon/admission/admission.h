/* SPDX-License-Identifier: MIT */
/*
 * Admission: all that happens to a connection from accept() until a worker takes it over, and its share of the limits
 * until it ends.
 *
 * It accepts connections, runs their handshakes (TLS, the proof of the secret, the superblock), applies the access
 * rules and the limits, queues the clients that wait for a worker, and relays the bytes of TLS peers. It knows nothing
 * of workers, processes or the status: its owner, the supervisor, learns of what concerns them through the functions of
 * struct ax_admission_events.
 *
 * Used in the loop's thread, where the events are called as well. An event may call ax_admission_relieved(),
 * ax_admission_find(), ax_admission_end() and ax_admission_return(), but no other function of this header; and
 * `offer` none of them on the client that it is offered. A lack of memory or descriptors closes the connection
 * concerned, with a line in the log, and nothing else.
 */
#ifndef AX_DAEMON_ADMISSION_ADMISSION_H
#define AX_DAEMON_ADMISSION_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/admission/client.h"
#include "daemon/admission/fd_budget.h"
#include "daemon/admission/handshake.h"
#include "daemon/admission/hangup.h"
#include "daemon/admission/identity.h"
#include "daemon/admission/peer.h"
#include "daemon/admission/relay.h"
#include "daemon/admission/secret.h"
#include "daemon/admission/status_request.h"
#include "daemon/config/options.h"
#include "daemon/listen/acceptor.h"

struct ax_admission_events {
    /* Whether `offer` may succeed: asked before a client is chosen, which takes time that grows with how many wait. */
    bool (*has_room)(void *owner);
    /*
     * A client is ready for a worker: client->fd, which stays the record's and is to be duplicated, and the
     * client->received_size bytes that were read from it. `handshake_ms` is what is left of the time that its handshake
     * may take; 0: no limit. Returns 1 if a worker has it: it is SERVED then, until ax_admission_end() or
     * ax_admission_return(). 0: no worker can take it now, and it waits. A negative errno: it cannot be served, and is
     * refused for that reason.
     */
    int (*offer)(void *owner, struct ax_client *client, uint32_t handshake_ms);
    /* This many clients wait for a worker. Called after each time that this may have changed. */
    void (*demand)(void *owner, size_t waiting);
    /* A peer has asked for the status, and is to be answered on `fd`, which is the callee's from now on. */
    void (*status_asked)(void *owner, int fd, enum ax_status_format format);
    /*
     * The TLS peer of a SERVED client has hung up, and its worker cannot see that yet, since it does not read what the
     * peer sent before.
     */
    void (*abandoned)(void *owner, struct ax_client *client);
};

struct ax_admission {
    uv_loop_t *loop;                          /* borrowed */
    const struct ax_admission_events *events; /* borrowed; NULL before ax_admission_init() */
    void *owner;
    struct ax_acceptor acceptor;
    struct ax_handshakes handshakes;
    struct ax_clients clients;
    struct ax_hangups hangups; /* of clients in WAITING */
    struct ax_relays relays;
    struct ax_peer_rules rules;
    struct ax_identity *identity; /* owned; NULL: there is no TLS */
    struct ax_secret *secret;     /* owned; what TCP peers have to know, or NULL */
    size_t limit;                 /* clients in WAITING and SERVED: of all */
    size_t source_limit;          /* the same: of each source */
    bool needs_user;              /* peers have to have a user: --run-as-peer */
    uv_timer_t waiting_timer;     /* runs for the first client in WAITING */
};

/*
 * Reads the access rules, the secret and the TLS identity that the options name, into an `admission` that is all zero.
 * Before the loop runs and before any address is listened on: it may wait for a disk or the name service. 0, or -1 with
 * the error; ax_admission_unload() releases what was read in both cases. With an identity, other processes of the same
 * user cannot read this one's memory any more.
 */
int ax_admission_load(struct ax_admission *admission, const struct ax_options *options, char *error, size_t error_size);

/* Releases what ax_admission_load() has read. For an admission that was not initialised. */
void ax_admission_unload(struct ax_admission *admission);

/*
 * After ax_admission_load(). Takes over the listeners (an array from malloc()), but accepts nothing before
 * ax_admission_open(). 0, or a negative errno, after which the loop holds some of its handles: then the process has to
 * end, and the caller closes the sockets of the listeners.
 */
int ax_admission_init(struct ax_admission *admission, uv_loop_t *loop, const struct ax_options *options,
                      const struct ax_fd_budget *budget, struct ax_listener *listeners, size_t count,
                      const struct ax_admission_events *events, void *owner);

/* Logs each address that is listened on, and accepts connections from now on. */
void ax_admission_open(struct ax_admission *admission);

/* A worker may have become free: offers clients that wait, as far as workers take them. */
void ax_admission_dispatch(struct ax_admission *admission);

/* A descriptor has become free: if there were none left, it tries again to accept connections. */
void ax_admission_relieved(struct ax_admission *admission);

/* The client with this number; NULL: there is none (any more). */
struct ax_client *ax_admission_find(const struct ax_admission *admission, uint64_t id);

/* A client has ended, for this reason; NULL: in order. Closes its descriptor and frees the record. */
void ax_admission_end(struct ax_admission *admission, struct ax_client *client, const char *reason);

/*
 * A SERVED client's worker has ended without touching its stream: it waits for another one, ahead of all that wait.
 * ax_admission_dispatch() offers it again.
 */
void ax_admission_return(struct ax_admission *admission, struct ax_client *client);

/* New connections have to prove that they know this secret, which is taken over; NULL: none. */
void ax_admission_set_secret(struct ax_admission *admission, struct ax_secret *secret);

/* New TLS handshakes use this identity, which is taken over. Those under way keep the one that they began with. */
void ax_admission_set_identity(struct ax_admission *admission, struct ax_identity *identity);

/* The time that a handshake may take, from now on: milliseconds, or AX_DURATION_NONE. */
void ax_admission_set_timeout(struct ax_admission *admission, uint32_t timeout_ms);

/*
 * Closes the listening sockets, and ends all connections that no worker has. Those that are SERVED, and their relays,
 * go on. No event but `abandoned` is called afterwards.
 */
void ax_admission_stop(struct ax_admission *admission);

/*
 * After ax_admission_stop(), once no client is SERVED. Closes the handles, and gives relays a short time to send what
 * they still have: the loop has to run until that is done, before _free_memory.
 */
void ax_admission_close(struct ax_admission *admission);
void ax_admission_free_memory(struct ax_admission *admission);

#endif
