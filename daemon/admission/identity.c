/* SPDX-License-Identifier: MIT */
#include "daemon/admission/identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/base/file.h"
#include "daemon/base/log.h"

/* ---- files ---- */

/* A file that is being read: its option and its path. */
struct source {
    const char *option;
    const char *path;
    bool is_private;
};

static int check_file(const struct source *source, const struct stat *status, char *error, size_t size)
{
    if (!S_ISREG(status->st_mode))
        return ax_error_format(error, size, "%s %s is not a regular file", source->option, source->path);
    if (status->st_size > AX_IDENTITY_FILE_MAX)
        return ax_error_format(error, size, "%s %s has more than %d bytes: it is probably the wrong file",
                               source->option, source->path, AX_IDENTITY_FILE_MAX);
    return source->is_private ? ax_file_check_private(status, source->option, source->path, error, size) : 0;
}

static int read_open(const struct source *source, int fd, struct ax_tls_text *text, char *error, size_t size)
{
    struct stat status;
    char *bytes;
    ssize_t got;

    if (fstat(fd, &status) < 0)
        return ax_error_format(error, size, "cannot look at %s %s: %s", source->option, source->path, strerror(errno));
    if (check_file(source, &status, error, size) < 0)
        return -1;
    bytes = malloc((size_t)status.st_size + 1);
    if (bytes == NULL)
        return ax_error_format(error, size, "out of memory");
    got = ax_file_read(fd, bytes, (size_t)status.st_size);
    if (got < 0) {
        ax_error_format(error, size, "cannot read %s %s: %s", source->option, source->path, strerror(errno));
        free(bytes);
        return -1;
    }
    *text = (struct ax_tls_text){bytes, (size_t)got};
    return 0;
}

/* The caller has to wipe() the text. */
static int read_file(const struct source *source, struct ax_tls_text *text, char *error, size_t size)
{
    int fd = ax_file_open(source->path);
    int result;

    if (fd < 0)
        return ax_error_format(error, size, "cannot open %s %s: %s", source->option, source->path, strerror(errno));
    result = read_open(source, fd, text, error, size);
    close(fd);
    return result;
}

/* Leaves nothing of a key in memory that is reused. */
static void wipe(struct ax_tls_text *text)
{
    char *bytes = (char *)(uintptr_t)text->data;

    if (bytes != NULL)
        explicit_bzero(bytes, text->size);
    free(bytes);
    *text = (struct ax_tls_text){0};
}

/* ---- loading ---- */

static int copy_names(struct ax_identity *identity, const struct ax_options *options, char *error, size_t size)
{
    for (size_t i = 0; i < options->tls_allow_name.count; i++)
        if (ax_string_list_add(&identity->allowed, options->tls_allow_name.items[i]) < 0)
            return ax_error_format(error, size, "out of memory");
    return 0;
}

static int load_context(struct ax_identity *identity, const struct ax_options *options, char *error, size_t size)
{
    const struct source certificate = {"--tls-cert", options->tls_cert, false};
    const struct source key = {"--tls-key", options->tls_key, true};
    const struct source client_ca = {"--tls-client-ca", options->tls_client_ca, false};
    struct ax_tls_strings pem = {0};

    if (read_file(&certificate, &pem.certificate, error, size) == 0 && read_file(&key, &pem.key, error, size) == 0 &&
        read_file(&client_ca, &pem.client_ca, error, size) == 0)
        identity->context = identity->crypto->context_new(&pem, error, size);
    wipe(&pem.certificate);
    wipe(&pem.key);
    wipe(&pem.client_ca);
    return identity->context != NULL ? 0 : -1;
}

/* Clients will report it too, but not in the log of the administrator who can fix it. */
static void warn_if_expired(const struct ax_identity *identity, const struct ax_options *options)
{
    if (identity->crypto->context_expiry(identity->context) < (int64_t)time(NULL))
        ax_log(AX_LOG_WARNING, "the certificate in %s has expired: clients will not accept it", options->tls_cert);
}

struct ax_identity *ax_identity_load(const struct ax_options *options, char *error, size_t error_size)
{
    struct ax_identity *identity = calloc(1, sizeof *identity);

    if (identity == NULL) {
        ax_error_format(error, error_size, "out of memory");
        return NULL;
    }
    identity->crypto = ax_crypto_load(error, error_size);
    if (identity->crypto == NULL || copy_names(identity, options, error, error_size) < 0 ||
        load_context(identity, options, error, error_size) < 0) {
        ax_identity_free(identity);
        return NULL;
    }
    warn_if_expired(identity, options);
    return identity;
}

void ax_identity_free(struct ax_identity *identity)
{
    if (identity == NULL)
        return;
    if (identity->context != NULL)
        identity->crypto->context_free(identity->context);
    ax_string_list_fini(&identity->allowed);
    free(identity);
}

/* ---- client names ---- */

struct search {
    const struct ax_string_list *allowed;
    char *name;
    bool is_admitted;
};

/* An authority may be lax about some kinds of names: a name of one kind must not pass for one of another. */
static bool has_form(enum ax_tls_name_kind kind, const char *name)
{
    switch (kind) {
    case AX_TLS_EMAIL:
        return strchr(name, '@') != NULL;
    case AX_TLS_URI:
        return strchr(name, ':') != NULL;
    case AX_TLS_DNS:
        return strpbrk(name, "@:") == NULL;
    case AX_TLS_COMMON_NAME:
        return true;
    }
    return false;
}

/* DNS names are case-insensitive. No wildcards: those are for names of servers. */
static bool is_allowed(const struct ax_string_list *allowed, enum ax_tls_name_kind kind, const char *name)
{
    for (size_t i = 0; i < allowed->count; i++)
        if ((kind == AX_TLS_DNS ? strcasecmp : strcmp)(allowed->items[i], name) == 0)
            return true;
    return false;
}

static void take_name(void *arg, enum ax_tls_name_kind kind, const char *name)
{
    struct search *search = arg;
    bool is_match;

    if (search->is_admitted || !has_form(kind, name))
        return;
    is_match = is_allowed(search->allowed, kind, name);
    if (is_match || search->name[0] == '\0')
        snprintf(search->name, AX_IDENTITY_NAME, "%s", name);
    search->is_admitted = is_match;
}

bool ax_identity_admits(const struct ax_identity *identity, struct ax_tls *tls, char name[AX_IDENTITY_NAME])
{
    struct search search = {.allowed = &identity->allowed, .name = name};

    name[0] = '\0';
    tls->methods->tell_names(tls, take_name, &search);
    return search.is_admitted || identity->allowed.count == 0;
}
