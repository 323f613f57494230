/* SPDX-License-Identifier: MIT */
#include "fake_tls.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "testing.h"

static struct fake_tls *fake_of(struct ax_tls *tls)
{
    struct fake_tls *fake = (struct fake_tls *)tls;

    assert_false(fake->is_free);
    return fake;
}

static enum ax_tls_result fake_accept(struct ax_tls *tls, char *reason, size_t size)
{
    char byte = 'T';
    ssize_t got = fake_of(tls)->has_first ? 1 : recv(fake_of(tls)->fd, &byte, 1, MSG_DONTWAIT);

    if (got < 0)
        return errno == EAGAIN ? AX_TLS_WANTS_READ : AX_TLS_BROKEN;
    if (got == 0)
        return AX_TLS_ENDED;
    snprintf(reason, size, "This is no TLS");
    return byte == 'T' ? AX_TLS_OK : AX_TLS_BROKEN;
}

static bool fake_has_answered(const struct ax_tls *tls)
{
    return ((const struct fake_tls *)tls)->has_answered;
}

static enum ax_tls_result fake_read(struct ax_tls *tls, void *data, size_t size, size_t *got)
{
    struct fake_tls *fake = fake_of(tls);
    ssize_t result;

    assert_true(size >= AX_TLS_RECORD_MAX);
    if (fake->is_broken)
        return AX_TLS_BROKEN;
    result = recv(fake->fd, data, AX_TLS_RECORD_MAX, MSG_DONTWAIT);
    if (result < 0)
        return errno == EAGAIN ? AX_TLS_WANTS_READ : AX_TLS_BROKEN;
    *got = (size_t)result;
    return result > 0 ? AX_TLS_OK : AX_TLS_ENDED;
}

static enum ax_tls_result fake_write(struct ax_tls *tls, const void *data, size_t size, size_t *done)
{
    struct fake_tls *fake = fake_of(tls);
    ssize_t result;

    if (fake->is_broken || fake->cannot_write)
        return AX_TLS_BROKEN;
    result = send(fake->fd, data, size < AX_TLS_RECORD_MAX ? size : AX_TLS_RECORD_MAX, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (result < 0)
        return errno == EAGAIN ? AX_TLS_WANTS_WRITE : AX_TLS_BROKEN;
    *done = (size_t)result;
    return AX_TLS_OK;
}

static void fake_end(struct ax_tls *tls)
{
    fake_of(tls)->has_ended = true;
}

static void fake_tell_names(struct ax_tls *tls, ax_tls_name_fn *take, void *arg)
{
    static const char letters[] = "DUEC"; /* in the order of the kinds */
    const struct fake_tls *fake = fake_of(tls);

    for (size_t i = 0; i < fake->name_count; i++)
        take(arg, (enum ax_tls_name_kind)(strchr(letters, fake->names[i][0]) - letters), fake->names[i] + 1);
}

static void fake_free(struct ax_tls *tls)
{
    fake_of(tls)->is_free = true;
}

void fake_tls_init(struct fake_tls *fake, int fd)
{
    static const struct ax_tls_methods methods = {
        .accept = fake_accept,
        .has_answered = fake_has_answered,
        .read = fake_read,
        .write = fake_write,
        .end = fake_end,
        .tell_names = fake_tell_names,
        .free = fake_free,
    };

    *fake = (struct fake_tls){.base = {.methods = &methods}, .fd = fd};
}
