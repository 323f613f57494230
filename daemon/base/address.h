/* SPDX-License-Identifier: MIT */
/*
 * Addresses to listen on, in text form: `unix:PATH`, `unix:@NAME` for an abstract name, which is no file,
 * `tcp:HOST:PORT`, `tcp:[IPv6]:PORT`, and `tls:` like `tcp:`.
 *
 * Parsing only looks at the text. Only ax_address_resolve() queries the system, for the addresses of a host name, and
 * may block: it is called before the loop runs.
 */
#ifndef AX_DAEMON_BASE_ADDRESS_H
#define AX_DAEMON_BASE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#define AX_HOST_SIZE 256           /* the longest name in the DNS has 253 characters */
#define AX_ADDRESS_RESOLVED_MAX 16 /* socket addresses per name: more than a host to listen on has */
#define AX_ADDRESS_TEXT (AX_HOST_SIZE + 16)

enum ax_address_kind { AX_ADDRESS_UNIX, AX_ADDRESS_TCP, AX_ADDRESS_TLS };

struct ax_address {
    enum ax_address_kind kind;
    char name
        /* UNIX: the path as given, or `@NAME`. Else the host without brackets; "" is the wildcard address */
        [AX_HOST_SIZE];
    uint16_t port; /* not for UNIX; 0 lets the system choose */
};

struct ax_sockaddr {
    socklen_t size;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    } of;
};

/* 0, or -1 with a message in `error` that says what to write instead. */
int ax_address_parse(struct ax_address *address, const char *text, char *error, size_t error_size);

/* Whether it is a unix socket with an abstract name. */
bool ax_address_is_abstract(const struct ax_address *address);

/* In text form, with this port: `tcp:[::1]:80`. */
void ax_address_format(char text[AX_ADDRESS_TEXT], const struct ax_address *address, uint16_t port);

/*
 * The socket addresses to bind, without duplicates: at most AX_ADDRESS_RESOLVED_MAX. Returns their number (at least 1),
 * or -1 with a message in `error`.
 */
int ax_address_resolve(const struct ax_address *address, struct ax_sockaddr *resolved, char *error, size_t error_size);

/* Whether it is reachable from this host only: a unix socket, 127.0.0.0/8, ::1, or IPv4-mapped loopback. */
bool ax_sockaddr_is_local(const struct ax_sockaddr *address);

uint16_t ax_sockaddr_port(const struct ax_sockaddr *address);
void ax_sockaddr_set_port(struct ax_sockaddr *address, uint16_t port);

#endif
