/* SPDX-License-Identifier: MIT */
/* TLS as daemon/admission/tls.h describes it, without cryptography: see admission.h. */
#include "admission.h"

#include <errno.h>
#include <sys/socket.h>

#include "world.h"

static struct peer *secured_peer(struct ax_tls *tls)
{
    struct peer *peer = (struct peer *)tls;

    CHECK(peer->has_tls && !peer->is_free && peer->is_secured);
    return peer;
}

static enum ax_tls_result do_accept(struct ax_tls *tls, char *reason, size_t size)
{
    struct peer *peer = (struct peer *)tls;
    unsigned char byte = 0;
    ssize_t got = 1;

    CHECK(peer->has_tls && !peer->is_free && !peer->is_secured);
    if (!peer->is_greeted) {
        got = recv(peer->server_fd, &byte, 1, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return AX_TLS_WANTS_READ;
        if (got == 0)
            return AX_TLS_ENDED;
        peer->is_greeted = got > 0 && byte == TLS_HELLO;
    }
    byte = TLS_HELLO;
    got = peer->is_greeted ? send(peer->server_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) : -1;
    if (got == 1)
        return AX_TLS_OK;
    if (peer->is_greeted && errno == EAGAIN)
        return AX_TLS_WANTS_WRITE;
    snprintf(reason, size, "This is no TLS");
    return AX_TLS_BROKEN;
}

static bool do_has_answered(const struct ax_tls *tls)
{
    return ((const struct peer *)tls)->is_greeted;
}

static enum ax_tls_result do_read(struct ax_tls *tls, void *data, size_t size, size_t *got)
{
    struct peer *peer = secured_peer(tls);
    unsigned char *bytes = data;
    ssize_t result;

    CHECK(size >= AX_TLS_RECORD_MAX);
    peer->wants_write = peer->wants_write && !world_is_writable(peer->server_fd);
    if (peer->is_broken || peer->wants_write)
        return peer->is_broken ? AX_TLS_BROKEN : AX_TLS_WANTS_WRITE;
    result = recv(peer->server_fd, bytes, AX_TLS_RECORD_MAX, MSG_DONTWAIT);
    if (result < 0)
        return errno == EAGAIN || errno == EINTR ? AX_TLS_WANTS_READ : AX_TLS_BROKEN;
    for (ssize_t i = 0; i < result; i++)
        bytes[i] ^= TLS_KEY;
    *got = (size_t)result;
    return result > 0 ? AX_TLS_OK : AX_TLS_ENDED;
}

static enum ax_tls_result do_write(struct ax_tls *tls, const void *data, size_t size, size_t *done)
{
    struct peer *peer = secured_peer(tls);
    unsigned char bytes[TALK];
    size_t here = at_most(size, TALK);
    ssize_t result;

    CHECK(size >= peer->unwritten_size && memcmp(data, peer->unwritten, peer->unwritten_size) == 0);
    for (size_t i = 0; i < here; i++)
        bytes[i] = ((const unsigned char *)data)[i] ^ TLS_KEY;
    peer->unwritten_size = 0;
    result = peer->is_broken ? -1 : send(peer->server_fd, bytes, here, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (result < 0 && (peer->is_broken || errno != EAGAIN))
        return AX_TLS_BROKEN;
    if (result < 0) {
        peer->unwritten_size = at_most(here, sizeof peer->unwritten);
        memcpy(peer->unwritten, data, peer->unwritten_size);
        return AX_TLS_WANTS_WRITE;
    }
    *done = (size_t)result;
    return AX_TLS_OK;
}

static void do_end(struct ax_tls *tls)
{
    secured_peer(tls);
}

static void do_free(struct ax_tls *tls)
{
    struct peer *peer = (struct peer *)tls;

    CHECK(peer->has_tls && !peer->is_free);
    peer->is_free = true;
}

const struct ax_tls_methods tls_methods = {
    .accept = do_accept,
    .has_answered = do_has_answered,
    .read = do_read,
    .write = do_write,
    .end = do_end,
    .free = do_free,
};
