/* SPDX-License-Identifier: MIT */
#include "daemon/listen/sockets.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/base/error_format.h"
#include "daemon/base/log.h"
#include "daemon/base/address.h"
#include "daemon/listen/inherited.h"
#include "daemon/base/account.h"

#define TLS_NAME "tls"

struct sockets {
    struct ax_listener *listeners;
    size_t count;
    char error[AX_ERROR_TEXT_SIZE];
};

/* A socket from a service manager has no scheme: its name (FileDescriptorName=) says whether peers speak TLS. */
static enum ax_listener_result adopt(struct sockets *sockets, const struct ax_options *options, int fd,
                                     const char *name)
{
    bool is_tls = strcmp(name, TLS_NAME) == 0;

    if (is_tls && !ax_options_have_identity(options)) {
        ax_error_format(sockets->error, sizeof sockets->error,
                        "the inherited socket %d is named " TLS_NAME ", which needs --tls-cert, --tls-key and "
                        "--tls-client-ca",
                        fd);
        return AX_LISTENER_REFUSED;
    }
    return ax_listener_adopt(&sockets->listeners[sockets->count], fd, is_tls, options->insecure, sockets->error,
                             sizeof sockets->error);
}

/* Counts the socket that was adopted last, if it may be served. */
static enum ax_listener_result check_adopted(struct sockets *sockets, const struct ax_options *options)
{
    const struct ax_listener *listener = &sockets->listeners[sockets->count++];
    char text[AX_ADDRESS_TEXT];

    if (!options->run_as_peer || listener->address.kind == AX_ADDRESS_UNIX)
        return AX_LISTENER_OK;
    ax_listener_format(text, listener);
    ax_error_format(
        sockets->error, sizeof sockets->error,
        "--run-as-peer is for unix sockets, and the inherited socket %s does not identify its users: leave out one "
        "of them",
        text);
    return AX_LISTENER_REFUSED;
}

static enum ax_listener_result adopt_all(struct sockets *sockets, const struct ax_options *options,
                                         const struct ax_inherited *inherited)
{
    enum ax_listener_result result = AX_LISTENER_OK;

    for (size_t i = 0; i < inherited->count && result == AX_LISTENER_OK; i++) {
        result = adopt(sockets, options, inherited->items[i].fd, inherited->items[i].name);
        if (result == AX_LISTENER_OK)
            result = check_adopted(sockets, options);
    }
    return result;
}

static enum ax_listener_result open_all(struct sockets *sockets, const struct ax_options *options)
{
    enum ax_listener_result result = AX_LISTENER_OK;
    gid_t group = AX_LISTENER_OWN_GROUP;

    if (options->socket_group != NULL &&
        ax_account_find_group(options->socket_group, &group, sockets->error, sizeof sockets->error) < 0)
        return AX_LISTENER_REFUSED;
    for (size_t i = 0; i < options->listen.count && result == AX_LISTENER_OK; i++) {
        struct ax_address address;
        size_t opened = 0;

        result = AX_LISTENER_REFUSED;
        if (ax_address_parse(&address, options->listen.items[i], sockets->error, sizeof sockets->error) == 0)
            result = ax_listener_open(sockets->listeners + sockets->count, &opened, &address, options->insecure,
                                      options->socket_mode, group, sockets->error, sizeof sockets->error);
        sockets->count += opened;
    }
    return result;
}

int ax_sockets_open(const struct ax_options *options, struct ax_listener **listeners, size_t *count)
{
    struct sockets sockets = {.error = "out of memory"};
    enum ax_listener_result result = AX_LISTENER_FAILED;
    struct ax_inherited inherited;

    if (ax_inherited_take(&inherited, sockets.error, sizeof sockets.error) < 0) {
        ax_log(AX_LOG_ERROR, "%s", sockets.error);
        return 2;
    }
    sockets.listeners = calloc(inherited.count + options->listen.count * AX_LISTENERS_MAX, sizeof *sockets.listeners);
    if (sockets.listeners != NULL)
        result = adopt_all(&sockets, options, &inherited);
    ax_inherited_fini(&inherited);
    if (result == AX_LISTENER_OK)
        result = open_all(&sockets, options);
    *listeners = sockets.listeners;
    *count = sockets.count;
    if (result == AX_LISTENER_OK)
        return 0;
    ax_log(AX_LOG_ERROR, "%s", sockets.error);
    while (sockets.count > 0)
        ax_listener_close(&sockets.listeners[--sockets.count]);
    free(sockets.listeners);
    return result == AX_LISTENER_REFUSED ? 2 : 1;
}
