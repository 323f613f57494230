/* SPDX-License-Identifier: MIT */
#include "daemon/status/status_command.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "daemon/admission/exchange.h"
#include "daemon/admission/secret.h"
#include "daemon/base/error_format.h"
#include "daemon/base/address.h"
#include "daemon/status/status.h"

#define DEFAULT_TIMEOUT_MS 10000u
#define TIMEOUT_MAX_S 86400.0

#define USAGE "acrossd status ADDRESS [--json] [--timeout SECONDS] [--secret-file FILE]"

/* ---- the arguments ---- */

struct arguments {
    const char *address; /* borrowed */
    enum ax_status_format format;
    uint32_t timeout_ms;
    const char *secret_file; /* borrowed; NULL: none */
    bool help;
};

/* The value of an option that takes one, in the same word or the next; NULL: it is another option, or has no value. */
static const char *value_of(const char *name, int *index, int argc, char **argv)
{
    const char *word = argv[*index];
    size_t length = strlen(name);

    if (strncmp(word, name, length) != 0)
        return NULL;
    if (word[length] == '=')
        return word + length + 1;
    return word[length] == '\0' && *index + 1 < argc ? argv[++*index] : NULL;
}

static int parse_timeout(uint32_t *timeout_ms, const char *text, char *error, size_t size)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !isfinite(seconds) || seconds < 0.001 || seconds > TIMEOUT_MAX_S)
        return ax_error_format(error, size, "--timeout takes a number of seconds, 0.001 to %.0f, not \"%s\"",
                               TIMEOUT_MAX_S, text);
    *timeout_ms = (uint32_t)(seconds * 1000);
    return 0;
}

static int parse_word(struct arguments *arguments, int *index, int argc, char **argv, char *error, size_t size)
{
    const char *word = argv[*index];
    const char *value;

    if (strcmp(word, "--json") == 0)
        arguments->format = AX_STATUS_JSON;
    else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        arguments->help = true;
    else if ((value = value_of("--timeout", index, argc, argv)) != NULL)
        return parse_timeout(&arguments->timeout_ms, value, error, size);
    else if ((value = value_of("--secret-file", index, argc, argv)) != NULL)
        arguments->secret_file = value;
    else if (strcmp(word, "--timeout") == 0)
        return ax_error_format(error, size, "--timeout needs a value: write --timeout SECONDS");
    else if (strcmp(word, "--secret-file") == 0)
        return ax_error_format(error, size, "--secret-file needs a value: write --secret-file FILE");
    else if (word[0] == '-')
        return ax_error_format(error, size, "status has no option %s: write " USAGE, word);
    else if (arguments->address != NULL)
        return ax_error_format(error, size, "status asks one address, and %s is a second one", word);
    else
        arguments->address = word;
    return 0;
}

/* The words after `status`. */
static int parse(struct arguments *arguments, int argc, char **argv, char *error, size_t size)
{
    *arguments = (struct arguments){.format = AX_STATUS_TEXT, .timeout_ms = DEFAULT_TIMEOUT_MS};
    for (int i = 2; i < argc; i++)
        if (parse_word(arguments, &i, argc, argv, error, size) < 0)
            return -1;
    if (arguments->address == NULL && !arguments->help)
        return ax_error_format(error, size, "status needs the address to ask: write " USAGE);
    return 0;
}

static int parse_address(struct ax_address *address, const struct arguments *arguments, char *error, size_t size)
{
    const char *text = arguments->address;

    if (ax_address_parse(address, text, error, size) < 0)
        return -1;
    if (address->kind == AX_ADDRESS_TLS)
        return ax_error_format(error, size,
                               "status does not speak TLS: have acrossd listen on a unix socket as well, and ask that");
    if (address->kind == AX_ADDRESS_TCP && address->port == 0)
        return ax_error_format(error, size, "%s names no port: write the one that acrossd says it listens on", text);
    if (address->kind != AX_ADDRESS_TCP && arguments->secret_file != NULL)
        return ax_error_format(error, size, "--secret-file is for tcp:HOST:PORT, and %s asks for none: leave it out",
                               text);
    return 0;
}

/* ---- time ---- */

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Sets the timeouts of the next call on the socket. Returns whether there is time left. */
static bool bound_next(int fd, uint64_t deadline)
{
    uint64_t now = now_ms();
    uint64_t left = deadline > now ? deadline - now : 0;
    struct timeval time = {.tv_sec = (time_t)(left / 1000), .tv_usec = (suseconds_t)(left % 1000 * 1000)};

    if (left == 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time); /* applies to connect(), too */
    return true;
}

static bool means_too_late(int code)
{
    return code == EAGAIN || code == EINPROGRESS || code == EALREADY || code == ETIMEDOUT;
}

/* ---- connecting ---- */

/* A socket, or a negative errno. */
static int connect_to(const struct ax_sockaddr *address, uint64_t deadline)
{
    int fd = socket(address->of.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int code = -ETIMEDOUT;

    if (fd < 0)
        return -errno;
    while (bound_next(fd, deadline)) {
        if (connect(fd, &address->of.any, address->size) == 0 || errno == EISCONN)
            return fd;
        if (errno == EINTR) /* the process was stopped and continued */
            continue;
        code = -errno;
        break;
    }
    close(fd);
    return code;
}

/* A socket, or -1 with an error message. Several addresses share the time evenly. */
static int connect_to_any(const struct ax_address *address, const char *text, uint64_t deadline, char *error,
                          size_t size)
{
    struct ax_sockaddr list[AX_ADDRESS_RESOLVED_MAX];
    int count = ax_address_resolve(address, list, error, size);
    int code = -ETIMEDOUT;

    if (count < 0)
        return -1;
    for (int i = 0; i < count; i++) {
        uint64_t now = now_ms();
        uint64_t left = deadline > now ? deadline - now : 0;

        code = connect_to(&list[i], now + left / (uint64_t)(count - i));
        if (code >= 0)
            return code;
    }
    if (means_too_late(-code))
        return ax_error_format(error, size, "nobody answers at %s in time", text);
    if (code == -ECONNREFUSED || code == -ENOENT)
        return ax_error_format(error, size, "nobody listens on %s", text);
    return ax_error_format(error, size, "cannot connect to %s: %s", text, strerror(-code));
}

/* ---- the request ---- */

static int no_answer(const char *text, char *error, size_t size)
{
    return ax_error_format(
        error, size,
        "%s gave no status: it is no acrossd, one of an older version, or does not allow this user to "
        "connect",
        text);
}

/* 0, or a negative errno. */
static int send_bytes(int fd, const unsigned char *bytes, size_t size, uint64_t deadline)
{
    size_t sent = 0;

    while (sent < size) {
        ssize_t part;

        if (!bound_next(fd, deadline))
            return -ETIMEDOUT;
        part = send(fd, bytes + sent, size - sent, MSG_NOSIGNAL);
        if (part < 0 && errno != EINTR)
            return -errno;
        sent += part > 0 ? (size_t)part : 0;
    }
    return 0;
}

static int send_request(int fd, enum ax_status_format format, uint64_t deadline)
{
    unsigned char request[AX_SUPERBLOCK_SIZE];

    ax_status_request_encode(request, format);
    return send_bytes(fd, request, sizeof request, deadline);
}

/* Reads until the other side closes. 0, or a negative errno; -EMSGSIZE: the answer is too long. */
static int read_answer(int fd, struct ax_writer *answer, uint64_t deadline)
{
    char chunk[16384];

    while (bound_next(fd, deadline)) {
        ssize_t size = recv(fd, chunk, sizeof chunk, 0);

        if (size == 0)
            return 0;
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return -errno;
        ax_writer_add(answer, chunk, (size_t)size);
        if (answer->has_failed)
            return -EMSGSIZE;
    }
    return -ETIMEDOUT;
}

/* ---- proving a secret ---- */

/* Reads the server's next message. 0, or a negative errno; -EPROTO: the stream ends early. */
static int read_message(int fd, unsigned char message[AX_EXCHANGE_SIZE], uint64_t deadline)
{
    size_t got = 0;

    while (got < AX_EXCHANGE_SIZE) {
        ssize_t part;

        if (!bound_next(fd, deadline))
            return -ETIMEDOUT;
        part = recv(fd, message + got, AX_EXCHANGE_SIZE - got, 0);
        if (part == 0)
            return -EPROTO;
        if (part < 0 && errno != EINTR)
            return -errno;
        got += part > 0 ? (size_t)part : 0;
    }
    return 0;
}

/* Sends a message and reads the reply. 0, or a negative errno. */
static int converse(int fd, enum ax_exchange_kind kind, const unsigned char *content,
                    unsigned char answer[AX_EXCHANGE_SIZE], uint64_t deadline)
{
    unsigned char message[AX_EXCHANGE_SIZE];
    int code;

    ax_exchange_put(message, kind, content);
    code = send_bytes(fd, message, sizeof message, deadline);
    return code < 0 ? code : read_message(fd, answer, deadline);
}

/* Gets a challenge. 0, or a negative errno; -EPROTO: the server requires no secret. */
static int ask_for_challenge(int fd, struct ax_nonces *nonces, uint64_t deadline)
{
    unsigned char answer[AX_EXCHANGE_SIZE];
    const unsigned char *nonce;
    int code = ax_secret_make_nonce(nonces->client);

    if (code == 0)
        code = converse(fd, AX_EXCHANGE_HELLO, nonces->client, answer, deadline);
    if (code < 0)
        return code;
    nonce = ax_exchange_get(answer, AX_EXCHANGE_CHALLENGE);
    if (nonce == NULL)
        return -EPROTO;
    memcpy(nonces->server, nonce, sizeof nonces->server);
    return 0;
}

/* 0, or a negative errno; -EACCES: the server has another secret. */
static int exchange_proofs(int fd, const struct ax_secret *secret, const struct ax_nonces *nonces, uint64_t deadline)
{
    unsigned char proof[AX_PROOF_SIZE];
    unsigned char answer[AX_EXCHANGE_SIZE];
    const unsigned char *its_proof;
    int code;

    if (ax_secret_prove(secret, AX_PROVER_CLIENT, nonces, proof) < 0)
        return -ENOMEM;
    code = converse(fd, AX_EXCHANGE_PROOF, proof, answer, deadline);
    if (code < 0)
        return code;
    its_proof = ax_exchange_get(answer, AX_EXCHANGE_ANSWER);
    return its_proof != NULL && ax_secret_is_proof(secret, AX_PROVER_SERVER, nonces, its_proof) ? 0 : -EACCES;
}

static int prove(int fd, const struct ax_secret *secret, const char *text, uint64_t deadline, char *error, size_t size)
{
    struct ax_nonces nonces;
    int code = ask_for_challenge(fd, &nonces, deadline);

    if (code == -EPROTO || code == -ECONNRESET)
        return ax_error_format(error, size, "%s asks for no secret: leave --secret-file out", text);
    if (code == 0)
        code = exchange_proofs(fd, secret, &nonces, deadline);
    if (code == -EACCES)
        return ax_error_format(error, size, "%s has another secret", text);
    if (code < 0 && means_too_late(-code))
        return ax_error_format(error, size, "%s did not answer in time", text);
    return code < 0 ? ax_error_format(error, size, "%s broke off the exchange that proves the secret", text) : 0;
}

/* ---- the answer ---- */

static bool starts_with(const struct ax_buffer *text, const char *start)
{
    return text->size >= strlen(start) && memcmp(text->data, start, strlen(start)) == 0;
}

static bool ends_with(const struct ax_buffer *text, const char *end)
{
    return text->size >= strlen(end) && memcmp(text->data + text->size - strlen(end), end, strlen(end)) == 0;
}

static int check_answer(const struct ax_buffer *answer, enum ax_status_format format, const char *text, char *error,
                        size_t size)
{
    bool is_json = format == AX_STATUS_JSON;

    if (ax_exchange_is_begun(answer->data, answer->size))
        return ax_error_format(error, size, "%s demands a shared secret: write --secret-file FILE", text);
    if (!starts_with(answer, is_json ? AX_STATUS_JSON_START : AX_STATUS_TEXT_START))
        return no_answer(text, error, size);
    if (!ends_with(answer, is_json ? "}\n" : "\n"))
        return ax_error_format(error, size, "the answer from %s is cut short", text);
    return 0;
}

/* Reads the whole answer. 0, or -1 with an error message. */
static int ask(int fd, struct ax_writer *answer, const struct arguments *arguments, uint64_t deadline, char *error,
               size_t size)
{
    int code = send_request(fd, arguments->format, deadline);

    if (code == 0)
        code = read_answer(fd, answer, deadline);
    if (code < 0 && means_too_late(-code))
        return ax_error_format(error, size, "%s did not answer within %g s", arguments->address,
                               arguments->timeout_ms / 1000.0);
    return code < 0 ? no_answer(arguments->address, error, size)
                    : check_answer(&answer->text, arguments->format, arguments->address, error, size);
}

static int print_answer(const struct ax_buffer *answer, char *error, size_t size)
{
    if (fwrite(answer->data, 1, answer->size, stdout) == answer->size && fflush(stdout) == 0)
        return 0;
    return ax_error_format(error, size, "cannot write to standard output: %s", strerror(errno));
}

/* ---- the command ---- */

/* 0, or -1 with an error message. */
static int run(const struct arguments *arguments, const struct ax_address *address, const struct ax_secret *secret,
               char *error, size_t size)
{
    uint64_t deadline = now_ms() + arguments->timeout_ms;
    int fd = connect_to_any(address, arguments->address, deadline, error, size);
    struct ax_writer answer;
    int code = 0;

    if (fd < 0)
        return -1;
    ax_writer_init(&answer, AX_STATUS_SIZE_MAX + 1);
    if (secret != NULL)
        code = prove(fd, secret, arguments->address, deadline, error, size);
    if (code == 0)
        code = ask(fd, &answer, arguments, deadline, error, size);
    close(fd);
    if (code == 0)
        code = print_answer(&answer.text, error, size);
    ax_writer_fini(&answer);
    return code;
}

/* Returns an exit status; 1 and 2 with an error message. */
static int ask_server(const struct arguments *arguments, char *error, size_t size)
{
    struct ax_secret *secret = NULL;
    struct ax_address address;
    int code;

    if (parse_address(&address, arguments, error, size) < 0)
        return 2;
    if (arguments->secret_file != NULL) {
        secret = ax_secret_read(arguments->secret_file, error, size);
        if (secret == NULL)
            return 2;
    }
    code = run(arguments, &address, secret, error, size);
    ax_secret_free(secret);
    return code < 0 ? 1 : 0;
}

static int print_help(char *error, size_t size)
{
    static const char help[] =
        "Usage: " USAGE "\n"
        "\n"
        "Shows how the acrossd is that listens on ADDRESS: unix:PATH, unix:@NAME or tcp:HOST:PORT.\n"
        "\n"
        "  --json              for programs\n"
        "  --timeout SECONDS   how long to wait for the answer (default: 10)\n"
        "  --secret-file FILE  the secret that a TCP address demands\n"
        "  -h, --help          print this help and exit\n";
    struct ax_buffer text = {.data = (unsigned char *)help, .size = sizeof help - 1};

    return print_answer(&text, error, size);
}

int ax_status_command(int argc, char **argv)
{
    struct arguments arguments;
    char error[AX_ERROR_TEXT_SIZE];
    int status = 2;

    signal(SIGPIPE, SIG_IGN);
    if (parse(&arguments, argc, argv, error, sizeof error) == 0) {
        if (arguments.help)
            status = print_help(error, sizeof error) < 0 ? 1 : 0;
        else
            status = ask_server(&arguments, error, sizeof error);
    }
    if (status != 0)
        fprintf(stderr, "acrossd: %s\n", error);
    return status;
}
