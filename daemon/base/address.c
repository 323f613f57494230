/* SPDX-License-Identifier: MIT */
#include "daemon/base/address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/error_format.h"

/* A path has a final NUL; an abstract name has an initial one instead, which is written as `@`. */
#define UNIX_PATH_MAX (sizeof((struct sockaddr_un *)0)->sun_path - 1)
#define UNIX_NAME_MAX (sizeof((struct sockaddr_un *)0)->sun_path)

static_assert(AX_HOST_SIZE > UNIX_NAME_MAX, "a name of every kind fits");

static int parse_unix(struct ax_address *address, const char *path, char *error, size_t size)
{
    if (path[0] == '\0' || strcmp(path, "@") == 0)
        return ax_error_format(error, size,
                               "unix:%s names no socket: write unix:PATH, or unix:@NAME for an abstract one", path);
    if (path[0] == '@' && strlen(path) > UNIX_NAME_MAX)
        return ax_error_format(error, size, "an abstract name has at most %zu bytes, this one has %zu: unix:%s",
                               UNIX_NAME_MAX - 1, strlen(path) - 1, path);
    if (path[0] != '@' && strlen(path) > UNIX_PATH_MAX)
        return ax_error_format(
            error, size,
            "the path of a unix socket has at most %zu bytes, this one has %zu: write a shorter one, "
            "relative if need be: unix:%s",
            UNIX_PATH_MAX, strlen(path), path);
    address->kind = AX_ADDRESS_UNIX;
    memcpy(address->name, path, strlen(path) + 1);
    return 0;
}

static int parse_port(uint16_t *port, const char *text)
{
    unsigned long value;

    if (text[0] == '\0' || strlen(text) > 5 || strspn(text, "0123456789") != strlen(text))
        return -1;
    value = strtoul(text, NULL, 10);
    if (value > UINT16_MAX)
        return -1;
    *port = (uint16_t)value;
    return 0;
}

/* On return [start, *end) is the host, *port the text after its colon. */
static int split_host(const char *text, const char **start, const char **end, const char **port)
{
    if (text[0] == '[') {
        *start = text + 1;
        *end = strchr(text, ']');
        if (*end == NULL || (*end)[1] != ':')
            return -1;
        *port = *end + 2;
        return 0;
    }
    *start = text;
    *end = strrchr(text, ':');
    if (*end == NULL)
        return -1;
    *port = *end + 1;
    return 0;
}

/* A numeric address, maybe with a scope (%eth0), which inet_pton() does not accept. */
static bool is_ipv6(const char *name)
{
    char number[AX_HOST_SIZE];
    struct in6_addr ignored;

    snprintf(number, sizeof number, "%.*s", (int)strcspn(name, "%"), name);
    return inet_pton(AF_INET6, number, &ignored) == 1;
}

static int parse_host(struct ax_address *address, const char *scheme, const char *text, char *error, size_t size)
{
    const char *start, *end, *port;

    if (split_host(text, &start, &end, &port) < 0)
        return ax_error_format(error, size, "%s:%s has no port: write %s:HOST:PORT, or %s:[ADDRESS]:PORT for IPv6",
                               scheme, text, scheme, scheme);
    if ((size_t)(end - start) >= AX_HOST_SIZE)
        return ax_error_format(error, size, "the host in %s:HOST:PORT has more than %d characters", scheme,
                               AX_HOST_SIZE - 1);
    memcpy(address->name, start, (size_t)(end - start));
    address->name[end - start] = '\0';
    if (text[0] != '[' && strchr(address->name, ':') != NULL)
        return ax_error_format(error, size, "an IPv6 address stands in brackets: write %s:[%s]:%s", scheme,
                               address->name, port);
    if (text[0] == '[' && !is_ipv6(address->name))
        return ax_error_format(error, size, "[%s] is no IPv6 address: only those stand in brackets", address->name);
    if (parse_port(&address->port, port) < 0)
        return ax_error_format(error, size,
                               "\"%s\" in %s:%s is no port: write a number up to 65535, or 0 to have one chosen", port,
                               scheme, text);
    return 0;
}

bool ax_address_is_abstract(const struct ax_address *address)
{
    return address->kind == AX_ADDRESS_UNIX && address->name[0] == '@';
}

int ax_address_parse(struct ax_address *address, const char *text, char *error, size_t error_size)
{
    memset(address, 0, sizeof *address);
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(address, text + 5, error, error_size);
    if (strncmp(text, "tcp:", 4) == 0) {
        address->kind = AX_ADDRESS_TCP;
        return parse_host(address, "tcp", text + 4, error, error_size);
    }
    if (strncmp(text, "tls:", 4) == 0) {
        address->kind = AX_ADDRESS_TLS;
        return parse_host(address, "tls", text + 4, error, error_size);
    }
    if (text[0] == '/' || text[0] == '.')
        return ax_error_format(error, error_size, "%s is no address: write unix:%s", text, text);
    if (strchr(text, ':') != NULL)
        return ax_error_format(error, error_size, "%s is no address: write unix:PATH, or tcp:%s", text, text);
    return ax_error_format(error, error_size, "\"%s\" is no address: write unix:PATH or tcp:HOST:PORT", text);
}

void ax_address_format(char text[AX_ADDRESS_TEXT], const struct ax_address *address, uint16_t port)
{
    bool brackets = strchr(address->name, ':') != NULL;

    if (address->kind == AX_ADDRESS_UNIX)
        snprintf(text, AX_ADDRESS_TEXT, "unix:%s", address->name);
    else
        snprintf(text, AX_ADDRESS_TEXT, "%s:%s%s%s:%u", address->kind == AX_ADDRESS_TLS ? "tls" : "tcp",
                 brackets ? "[" : "", address->name, brackets ? "]" : "", port);
}

static int resolve_unix(const struct ax_address *address, struct ax_sockaddr *resolved)
{
    size_t length = strlen(address->name);

    memset(resolved, 0, sizeof *resolved);
    resolved->of.un.sun_family = AF_UNIX;
    memcpy(resolved->of.un.sun_path, address->name, length);
    resolved->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (ax_address_is_abstract(address))
        resolved->of.un.sun_path[0] = '\0';
    else
        resolved->size++;
    return 1;
}

static bool contains(const struct ax_sockaddr *list, int count, const struct addrinfo *info)
{
    for (int i = 0; i < count; i++)
        if (list[i].size == info->ai_addrlen && memcmp(&list[i].of.any, info->ai_addr, info->ai_addrlen) == 0)
            return true;
    return false;
}

static int resolve_tcp(const struct ax_address *address, struct ax_sockaddr *resolved, char *error, size_t size)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    char port[8];
    int count = 0;
    int code;

    snprintf(port, sizeof port, "%u", address->port);
    code = getaddrinfo(address->name[0] != '\0' ? address->name : NULL, port, &hints, &found);
    if (code != 0)
        return ax_error_format(error, size, "the host %s of an address is not known: %s", address->name,
                               code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
    for (struct addrinfo *info = found; info != NULL && count < AX_ADDRESS_RESOLVED_MAX; info = info->ai_next) {
        if ((info->ai_family != AF_INET && info->ai_family != AF_INET6) || contains(resolved, count, info))
            continue;
        memset(&resolved[count], 0, sizeof resolved[count]);
        memcpy(&resolved[count].of.any, info->ai_addr, info->ai_addrlen);
        resolved[count++].size = info->ai_addrlen;
    }
    freeaddrinfo(found);
    return count > 0 ? count : ax_error_format(error, size, "the host %s has no IPv4 or IPv6 address", address->name);
}

/* `localhost` means both loopback addresses, whichever of them the hosts file contains. */
static int resolve_localhost(const struct ax_address *address, struct ax_sockaddr *resolved, char *error, size_t size)
{
    static const char *const numbers[] = {"127.0.0.1", "::1"};
    struct ax_address number = *address;

    for (int i = 0; i < 2; i++) {
        snprintf(number.name, sizeof number.name, "%s", numbers[i]);
        if (resolve_tcp(&number, &resolved[i], error, size) < 0)
            return -1;
    }
    return 2;
}

int ax_address_resolve(const struct ax_address *address, struct ax_sockaddr *resolved, char *error, size_t error_size)
{
    if (address->kind == AX_ADDRESS_UNIX)
        return resolve_unix(address, resolved);
    if (strcmp(address->name, "localhost") == 0)
        return resolve_localhost(address, resolved, error, error_size);
    return resolve_tcp(address, resolved, error, error_size);
}

bool ax_sockaddr_is_local(const struct ax_sockaddr *address)
{
    const struct in6_addr *in6;

    switch (address->of.any.sa_family) {
    case AF_UNIX:
        return true;
    case AF_INET:
        return ntohl(address->of.in.sin_addr.s_addr) >> 24 == 127;
    case AF_INET6:
        in6 = &address->of.in6.sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
    default:
        return false;
    }
}

uint16_t ax_sockaddr_port(const struct ax_sockaddr *address)
{
    if (address->of.any.sa_family == AF_INET)
        return ntohs(address->of.in.sin_port);
    if (address->of.any.sa_family == AF_INET6)
        return ntohs(address->of.in6.sin6_port);
    return 0;
}

void ax_sockaddr_set_port(struct ax_sockaddr *address, uint16_t port)
{
    if (address->of.any.sa_family == AF_INET)
        address->of.in.sin_port = htons(port);
    else if (address->of.any.sa_family == AF_INET6)
        address->of.in6.sin6_port = htons(port);
}
