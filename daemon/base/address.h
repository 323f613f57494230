/* SPDX-License-Identifier: MIT */
/*
 * Addresses to listen on, as they are written: `unix:PATH`, `unix:@NAME` for an abstract name, which is no file,
 * `tcp:HOST:PORT`, `tcp:[IPv6]:PORT`, and `tls:` like `tcp:`.
 *
 * Parsing looks at nothing but the text. Only ax_address_resolve() asks the system, for the numbers behind a host's
 * name, and may wait for its answer: it is called before the loop runs.
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
#define AX_ADDRESS_RESOLVED_MAX 16 /* socket addresses of one name: more than any host that one listens on has */
#define AX_ADDRESS_TEXT (AX_HOST_SIZE + 16)

enum ax_address_kind { AX_ADDRESS_UNIX, AX_ADDRESS_TCP, AX_ADDRESS_TLS };

struct ax_address {
    enum ax_address_kind kind;
    char name
        [AX_HOST_SIZE]; /* UNIX: the path as given, or `@NAME`. Else the host without brackets; "" is every address */
    uint16_t port;      /* not of UNIX; 0 lets the system choose */
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

/* 0, or -1 with a sentence in `error` that says what to write instead. */
int ax_address_parse(struct ax_address *address, const char *text, char *error, size_t error_size);

/* Whether it is a unix socket with an abstract name. */
bool ax_address_is_abstract(const struct ax_address *address);

/* As it is written, with this port: `tcp:[::1]:80`. */
void ax_address_format(char text[AX_ADDRESS_TEXT], const struct ax_address *address, uint16_t port);

/*
 * The socket addresses to bind, without duplicates: at most AX_ADDRESS_RESOLVED_MAX. Returns how many (at least 1),
 * or -1 with a sentence in `error`.
 */
int ax_address_resolve(const struct ax_address *address, struct ax_sockaddr *resolved, char *error, size_t error_size);

/* Whether only this host can reach it: a unix socket, 127.0.0.0/8, ::1, or the former written as IPv6. */
bool ax_sockaddr_is_local(const struct ax_sockaddr *address);

uint16_t ax_sockaddr_port(const struct ax_sockaddr *address);
void ax_sockaddr_set_port(struct ax_sockaddr *address, uint16_t port);

#endif
