/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into every process of a scenario: counts what our code asks of the C library and the kernel, and makes one
 * of these calls fail. docs/reliability.md tells what comes of it.
 *
 * Not everything that could fail does. libuv ends the process, by abort(), where it could not go on: those of its calls
 * never fail here (see libuv_survives()). A write to an eventfd that does not block, and a lock, cannot fail.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "blocks.h"
#include "functions.h"
#include "ledger.h"
#include "place.h"

#define SHIM __attribute__((visibility("default")))
#define CALLER __builtin_return_address(0)

#define ERRORS_MAX 3

struct function {
    const char *name;
    int errors[ERRORS_MAX];
};

enum function_number {
#define NUMBER(name, kind, ...) F_##name,
    TORTURE_FUNCTIONS(NUMBER)
#undef NUMBER
};

static const struct function functions[] = {
#define FUNCTION(name, kind, ...) {#name, {__VA_ARGS__}},
    TORTURE_FUNCTIONS(FUNCTION)
#undef FUNCTION
};

static struct ledger *ledger;
static enum role own_role;

/* ---- the functions that are stood in for ---- */

/* The next library's function of this name. */
static void *find(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    if (function == NULL)
        abort();
    return function;
}

/* REAL(read)(fd, ...): the function that the program would have called. */
#define REAL(name)                                                                                                     \
    ({                                                                                                                 \
        static __typeof__(&name) real_##name;                                                                          \
        if (real_##name == NULL)                                                                                       \
            real_##name = (__typeof__(&name))find(#name);                                                              \
        real_##name;                                                                                                   \
    })

/* ---- which call fails ---- */

static bool is_nonblocking(int fd)
{
    int flags = REAL(fcntl)(fd, F_GETFL);

    return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

/* The bits of the errors with this number. */
static uint32_t bits_of(enum function_number number, int error)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < ERRORS_MAX; i++)
        if (functions[number].errors[i] == error)
            bits |= 1u << i;
    return bits;
}

/* All errors of a function. */
static uint32_t all_of(enum function_number number)
{
    return ~bits_of(number, 0) & ((1u << ERRORS_MAX) - 1);
}

/*
 * libuv has no error to return when it wakes a loop or is told of a signal: it aborts, and takes EAGAIN for a pipe that
 * is full and thus wakes the loop in any case.
 */
static uint32_t libuv_survives(enum function_number number)
{
    switch (number) {
    case F_read:
        return bits_of(number, EINTR) | bits_of(number, EAGAIN);
    case F_write:
        return bits_of(number, EINTR);
    case F_realloc: /* its list of what it watches */
        return 0;
    default:
        return all_of(number);
    }
}

/*
 * Counts a call; true when it is to fail, with errno set. `errors`: those that it may have. `site`, if wanted, is NULL
 * for the calls of others.
 */
static bool fails_with(enum function_number number, const void *caller, uint32_t errors, struct site **site)
{
    enum module module = ledger != NULL && own_role != ROLE_OTHER ? place_module(caller) : MODULE_NONE;
    uint64_t frames[LEDGER_FRAMES];
    struct site *found = NULL;
    int saved = errno;
    int error = -1;

    if (module == MODULE_LIBUV)
        errors &= libuv_survives(number);
    if (module != MODULE_NONE) {
        place_frames(frames);
        found = ledger_site(ledger, own_role, number, frames);
        if (found != NULL)
            error = ledger_count(ledger, found, errors);
    }
    if (site != NULL)
        *site = found;
    errno = error >= 0 ? functions[number].errors[error] : saved;
    return error >= 0;
}

static bool fails(enum function_number number, const void *caller)
{
    return fails_with(number, caller, all_of(number), NULL);
}

/* A call that gives back EAGAIN only if it would wait otherwise. */
static bool fails_on(enum function_number number, const void *caller, int fd, int flags)
{
    uint32_t errors = all_of(number);

    if (ledger != NULL && place_module(caller) != MODULE_NONE && (flags & MSG_DONTWAIT) == 0 && !is_nonblocking(fd))
        errors &= ~bits_of(number, EAGAIN);
    return fails_with(number, caller, errors, NULL);
}

/* ---- memory ---- */

/* What dlsym() asks for while it looks for malloc() itself. */
static void *take_early(size_t size)
{
    static _Alignas(16) unsigned char memory[4096];
    static size_t used;
    void *taken = memory + used;

    used += (size + 15) / 16 * 16;
    if (used > sizeof memory)
        abort();
    return taken;
}

static void *remember(void *memory, struct site *site)
{
    if (memory != NULL && site != NULL)
        blocks_add(memory, site);
    return memory;
}

SHIM void *malloc(size_t size)
{
    struct site *site;

    if (fails_with(F_malloc, CALLER, all_of(F_malloc), &site))
        return NULL;
    return remember(REAL(malloc)(size), site);
}

SHIM void *calloc(size_t count, size_t size)
{
    static bool is_looking; /* in the only thread that there is then */
    static __typeof__(&calloc) real;
    struct site *site;

    if (real == NULL) {
        if (is_looking)
            return take_early(count * size);
        is_looking = true;
        real = (__typeof__(&calloc))find("calloc");
    }
    if (fails_with(F_calloc, CALLER, all_of(F_calloc), &site))
        return NULL;
    return remember(real(count, size), site);
}

SHIM void *realloc(void *memory, size_t size)
{
    struct site *site;
    void *moved;

    if (fails_with(F_realloc, CALLER, all_of(F_realloc), &site))
        return NULL;
    if (memory != NULL)
        blocks_remove(memory);
    moved = REAL(realloc)(memory, size);
    return remember(moved, site);
}

SHIM void free(void *memory)
{
    static bool is_looking; /* dlsym() frees what it has kept of an error before; that is not freed then */
    static __typeof__(&free) real;

    if (real == NULL) {
        if (is_looking)
            return;
        is_looking = true;
        real = (__typeof__(&free))find("free");
    }
    if (memory != NULL)
        blocks_remove(memory);
    real(memory);
}

SHIM char *strdup(const char *text)
{
    struct site *site;

    if (fails_with(F_strdup, CALLER, all_of(F_strdup), &site))
        return NULL;
    return remember(REAL(strdup)(text), site);
}

SHIM char *strndup(const char *text, size_t size)
{
    struct site *site;

    if (fails_with(F_strndup, CALLER, all_of(F_strndup), &site))
        return NULL;
    return remember(REAL(strndup)(text, size), site);
}

static int print(char **text, const char *format, va_list values, const void *caller)
{
    struct site *site;
    int size;

    if (fails_with(F_asprintf, caller, all_of(F_asprintf), &site))
        return -1;
    size = vasprintf(text, format, values);
    if (size >= 0)
        remember(*text, site);
    return size;
}

SHIM int asprintf(char **text, const char *format, ...)
{
    va_list values;
    int size;

    va_start(values, format);
    size = print(text, format, values, CALLER);
    va_end(values);
    return size;
}

/* What the compiler calls for it when it has checks put in. */
SHIM int __asprintf_chk(char **text, int flag, const char *format, ...);

SHIM int __asprintf_chk(char **text, int flag, const char *format, ...)
{
    va_list values;
    int size;

    (void)flag;
    va_start(values, format);
    size = print(text, format, values, CALLER);
    va_end(values);
    return size;
}

SHIM char *realpath(const char *path, char *resolved)
{
    struct site *site;

    if (fails_with(F_realpath, CALLER, all_of(F_realpath), &site))
        return NULL;
    return remember(REAL(realpath)(path, resolved), resolved == NULL ? site : NULL);
}

SHIM void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    return fails(F_mmap, CALLER) ? MAP_FAILED : REAL(mmap)(address, size, protection, flags, fd, offset);
}

SHIM int posix_fallocate(int fd, off_t offset, off_t size)
{
    return fails(F_posix_fallocate, CALLER) ? errno : REAL(posix_fallocate)(fd, offset, size);
}

/* ---- reading and writing ---- */

SHIM ssize_t read(int fd, void *data, size_t size)
{
    return fails_on(F_read, CALLER, fd, 0) ? -1 : REAL(read)(fd, data, size);
}

SHIM ssize_t readv(int fd, const struct iovec *slices, int count)
{
    return fails_on(F_readv, CALLER, fd, 0) ? -1 : REAL(readv)(fd, slices, count);
}

SHIM ssize_t recv(int fd, void *data, size_t size, int flags)
{
    return fails_on(F_recv, CALLER, fd, flags) ? -1 : REAL(recv)(fd, data, size, flags);
}

SHIM ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    return fails_on(F_recvmsg, CALLER, fd, flags) ? -1 : REAL(recvmsg)(fd, message, flags);
}

SHIM int eventfd_read(int fd, eventfd_t *value)
{
    return fails_on(F_eventfd_read, CALLER, fd, 0) ? -1 : REAL(eventfd_read)(fd, value);
}

SHIM ssize_t write(int fd, const void *data, size_t size)
{
    return fails_on(F_write, CALLER, fd, 0) ? -1 : REAL(write)(fd, data, size);
}

SHIM ssize_t writev(int fd, const struct iovec *slices, int count)
{
    return fails_on(F_writev, CALLER, fd, 0) ? -1 : REAL(writev)(fd, slices, count);
}

SHIM ssize_t send(int fd, const void *data, size_t size, int flags)
{
    return fails_on(F_send, CALLER, fd, flags) ? -1 : REAL(send)(fd, data, size, flags);
}

SHIM ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t to_size)
{
    return fails_on(F_sendto, CALLER, fd, flags) ? -1 : REAL(sendto)(fd, data, size, flags, to, to_size);
}

SHIM ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return fails_on(F_sendmsg, CALLER, fd, flags) ? -1 : REAL(sendmsg)(fd, message, flags);
}

/* ---- waiting ---- */

SHIM int poll(struct pollfd *items, nfds_t count, int timeout)
{
    return fails(F_poll, CALLER) ? -1 : REAL(poll)(items, count, timeout);
}

SHIM int epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
{
    return fails(F_epoll_wait, CALLER) ? -1 : REAL(epoll_wait)(fd, events, count, timeout);
}

SHIM int epoll_pwait(int fd, struct epoll_event *events, int count, int timeout, const sigset_t *mask)
{
    return fails(F_epoll_pwait, CALLER) ? -1 : REAL(epoll_pwait)(fd, events, count, timeout, mask);
}

/*
 * Only libuv calls it, and only where it checks a descriptor (uv_poll_init) it tells what went wrong, and has no data.
 */
SHIM int epoll_ctl(int fd, int operation, int other, struct epoll_event *event)
{
    bool is_check = operation == EPOLL_CTL_ADD && event->data.fd == -1;
    uint32_t errors = is_check ? all_of(F_epoll_ctl) : 0;

    return fails_with(F_epoll_ctl, CALLER, errors, NULL) ? -1 : REAL(epoll_ctl)(fd, operation, other, event);
}

/* ---- processes and threads ---- */

SHIM pid_t fork(void)
{
    return fails(F_fork, CALLER) ? -1 : REAL(fork)();
}

SHIM int execv(const char *path, char *const *arguments)
{
    return fails(F_execv, CALLER) ? -1 : REAL(execv)(path, arguments);
}

SHIM int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    return fails(F_pthread_create, CALLER) ? errno : REAL(pthread_create)(thread, attributes, run, arg);
}

SHIM long syscall(long number, ...)
{
    long values[6];
    va_list list;

    va_start(list, number);
    for (size_t i = 0; i < 6; i++)
        values[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_pidfd_open && fails(F_pidfd_open, CALLER))
        return -1;
    return REAL(syscall)(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}

/* ---- descriptors ---- */

SHIM int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    return fails(F_accept4, CALLER) ? -1 : REAL(accept4)(fd, address, size, flags);
}

SHIM int socket(int domain, int type, int protocol)
{
    return fails(F_socket, CALLER) ? -1 : REAL(socket)(domain, type, protocol);
}

SHIM int socketpair(int domain, int type, int protocol, int fds[2])
{
    return fails(F_socketpair, CALLER) ? -1 : REAL(socketpair)(domain, type, protocol, fds);
}

/* libuv aborts when it has no pipe that blocks, which it uses as the lock of its signal handlers. */
SHIM int pipe2(int fds[2], int flags)
{
    bool is_lock = place_module(CALLER) == MODULE_LIBUV && (flags & O_NONBLOCK) == 0;

    return fails_with(F_pipe2, CALLER, is_lock ? 0 : all_of(F_pipe2), NULL) ? -1 : REAL(pipe2)(fds, flags);
}

SHIM int eventfd(unsigned value, int flags)
{
    return fails(F_eventfd, CALLER) ? -1 : REAL(eventfd)(value, flags);
}

SHIM int signalfd(int fd, const sigset_t *mask, int flags)
{
    return fails(F_signalfd, CALLER) ? -1 : REAL(signalfd)(fd, mask, flags);
}

SHIM int memfd_create(const char *name, unsigned flags)
{
    return fails(F_memfd_create, CALLER) ? -1 : REAL(memfd_create)(name, flags);
}

SHIM int epoll_create1(int flags)
{
    return fails(F_epoll_create1, CALLER) ? -1 : REAL(epoll_create1)(flags);
}

/* The mode that open() has if it makes a file. */
#define MODE(flags, mode)                                                                                              \
    do {                                                                                                               \
        va_list list;                                                                                                  \
        va_start(list, flags);                                                                                         \
        mode = ((flags) & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;                                      \
        va_end(list);                                                                                                  \
    } while (0)

SHIM int open(const char *path, int flags, ...)
{
    mode_t mode;

    MODE(flags, mode);
    return fails(F_open, CALLER) ? -1 : REAL(open)(path, flags, mode);
}

SHIM int open64(const char *path, int flags, ...)
{
    mode_t mode;

    MODE(flags, mode);
    return fails(F_open, CALLER) ? -1 : REAL(open64)(path, flags, mode);
}

SHIM FILE *fopen(const char *path, const char *mode)
{
    return fails(F_fopen, CALLER) ? NULL : REAL(fopen)(path, mode);
}

SHIM int dup2(int fd, int wanted)
{
    return fails(F_dup2, CALLER) ? -1 : REAL(dup2)(fd, wanted);
}

SHIM int fcntl(int fd, int operation, ...)
{
    va_list list;
    void *value;

    va_start(list, operation);
    value = va_arg(list, void *);
    va_end(list);
    if ((operation == F_DUPFD || operation == F_DUPFD_CLOEXEC) && fails(F_dupfd, CALLER))
        return -1;
    return REAL(fcntl)(fd, operation, value);
}

SHIM int bind(int fd, const struct sockaddr *address, socklen_t size)
{
    return fails(F_bind, CALLER) ? -1 : REAL(bind)(fd, address, size);
}

SHIM int listen(int fd, int count)
{
    return fails(F_listen, CALLER) ? -1 : REAL(listen)(fd, count);
}

SHIM int connect(int fd, const struct sockaddr *address, socklen_t size)
{
    return fails(F_connect, CALLER) ? -1 : REAL(connect)(fd, address, size);
}

/* ---- what a process is ---- */

static const struct {
    const char *name;
    enum role role;
} names[] = {
    {"acrossd-zygote", ROLE_ZYGOTE},
    {"acrossd-keeper", ROLE_KEEPER},
    {"acrossd-worker", ROLE_WORKER},
};

/* The processes of acrossd give themselves names when they become what they are. */
SHIM int prctl(int operation, ...)
{
    unsigned long values[4];
    va_list list;

    va_start(list, operation);
    for (size_t i = 0; i < 4; i++)
        values[i] = va_arg(list, unsigned long);
    va_end(list);
    for (size_t i = 0; operation == PR_SET_NAME && i < sizeof names / sizeof names[0]; i++)
        if (strcmp((const char *)values[0], names[i].name) == 0)
            own_role = names[i].role;
    return REAL(prctl)(operation, values[0], values[1], values[2], values[3]);
}

/*
 * By its command line. The folders of a path may have any name: a client's Python may be somewhere below one named
 * acrossd.
 */
static enum role find_role(int argc, char **argv)
{
    enum role role = ROLE_SUPERVISOR;

    if (strcmp(place_base_name(argv[0]), "acrossd") != 0)
        return ROLE_CLIENT;
    if (argc > 1 && strcmp(argv[1], "status") == 0)
        return ROLE_STATUS;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--stdio") == 0)
            role = ROLE_STDIO;
        else if (strncmp(argv[i], "--role", strlen("--role")) == 0)
            role = ROLE_ZYGOTE;
    return role;
}

SHIM void *dlopen(const char *path, int flags)
{
    void *library = REAL(dlopen)(path, flags);

    if (ledger != NULL)
        place_find_modules();
    return library;
}

/* ---- crashes ---- */

static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};

/* The default action is restored: it happens again, and the process dies of it. */
static void on_crash(int number)
{
    atomic_store(&ledger->crash_role, own_role);
    atomic_store(&ledger->crash, (uint32_t)number);
}

static void watch_crashes(void)
{
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND};

    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++)
        sigaction(crashes[i], &action, NULL);
}

/* A new process resets all signals. These ones stay watched. */
SHIM sighandler_t signal(int number, sighandler_t handler)
{
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0] && ledger != NULL && handler == SIG_DFL; i++)
        if (number == crashes[i])
            return SIG_DFL;
    return REAL(signal)(number, handler);
}

/* ---- the beginning and the end of a process ---- */

static uint32_t count_files(void)
{
    uint32_t count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += REAL(fcntl)(fd, F_GETFD) >= 0;
    return count;
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
    ledger = ledger_open();
    if (ledger == NULL)
        return;
    own_role = find_role(argc, argv);
    place_find_modules();
    watch_crashes();
}

/* One that exits in order, after main() or by exit(). */
__attribute__((destructor)) static void end(void)
{
    if (ledger == NULL || own_role == ROLE_OTHER)
        return;
    blocks_tell();
    atomic_fetch_add(&ledger->ended[own_role].processes, 1);
    atomic_fetch_add(&ledger->ended[own_role].files, count_files());
}
