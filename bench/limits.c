/* SPDX-License-Identifier: MIT */
/*
 * What the kernel needs to move the bytes that a call moves, between two processes, with nothing else around: the
 * limit.
 *
 *   limits TRANSPORT pingpong CORES N    64 bytes there and back, N times
 *   limits TRANSPORT stream CORES N      64 MiB there, and a byte back, N times
 *   limits TRANSPORT fresh CORES N       the same; the receiver reads into memory that it gets from the kernel each
 *                                        time, in pieces of 256 KiB
 *
 * TRANSPORT: unix, tcp (loopback) or stdio (a pair of pipes). CORES: one or two, which the processes are bound to, or
 * free. Prints one time a line, in microseconds.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PING 64
#define STREAM (64u << 20)
#define PIECE (256u << 10)

struct channel {
    int in, out;
};

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static int tcp_connect(int listener)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    check(getsockname(listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
    check(connect(fd, (struct sockaddr *)&address, size) == 0, "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void open_tcp(struct channel ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    check(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    check(listen(listener, 1) == 0, "listen");
    ends[0].in = ends[0].out = tcp_connect(listener);
    ends[1].in = ends[1].out = accept(listener, NULL, NULL);
    check(ends[1].in >= 0, "accept");
    setsockopt(ends[1].in, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    close(listener);
}

static void open_unix(struct channel ends[2])
{
    int fds[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    ends[0].in = ends[0].out = fds[0];
    ends[1].in = ends[1].out = fds[1];
}

static void open_pipes(struct channel ends[2])
{
    int there[2], back[2];
    check(pipe(there) == 0 && pipe(back) == 0, "pipe");
    ends[0] = (struct channel){back[0], there[1]};
    ends[1] = (struct channel){there[0], back[1]};
}

static int read_all(int fd, char *data, size_t size)
{
    while (size > 0) {
        ssize_t got = read(fd, data, size);
        if (got <= 0)
            return 0;
        data += got;
        size -= (size_t)got;
    }
    return 1;
}

static void write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = write(fd, data, size);
        check(sent > 0, "write");
        data += sent;
        size -= (size_t)sent;
    }
}

/* ---- the process that answers ---- */

static void serve_pings(struct channel end)
{
    char data[PING];
    while (read_all(end.in, data, PING))
        write_all(end.out, data, PING);
}

static char *map_stream(void)
{
    char *data = mmap(NULL, STREAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(data != MAP_FAILED, "mmap");
    return data;
}

static void serve_streams(struct channel end)
{
    char *data = map_stream();
    while (read_all(end.in, data, STREAM))
        write_all(end.out, data, 1);
}

static int read_pieces(int fd, char *data)
{
    for (size_t pos = 0; pos < STREAM; pos += PIECE) {
        if (!read_all(fd, data + pos, PIECE))
            return 0;
    }
    return 1;
}

static void serve_streams_freshly(struct channel end)
{
    char *data = map_stream();
    while (read_pieces(end.in, data)) {
        write_all(end.out, data, 1);
        munmap(data, STREAM);
        data = map_stream();
    }
}

/* ---- the process that measures ---- */

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e6 + (double)at.tv_nsec / 1e3;
}

static void measure(struct channel end, size_t there, size_t back, long count)
{
    char *data = map_stream();
    memset(data, 1, there);
    for (long i = 0; i < count; i++) {
        double begin = now();
        write_all(end.out, data, there);
        check(read_all(end.in, data, back), "read");
        printf("%.2f\n", now() - begin);
    }
}

static void bind_to(int core)
{
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    check(sched_setaffinity(0, sizeof cores, &cores) == 0, "sched_setaffinity");
}

int main(int argc, char **argv)
{
    struct channel ends[2];
    check(argc == 5, "usage: limits unix|tcp|stdio pingpong|stream|fresh one|two|free N");
    if (strcmp(argv[1], "unix") == 0)
        open_unix(ends);
    else if (strcmp(argv[1], "tcp") == 0)
        open_tcp(ends);
    else
        open_pipes(ends);
    int pings = strcmp(argv[2], "pingpong") == 0, two = strcmp(argv[3], "two") == 0;
    if (two || strcmp(argv[3], "one") == 0)
        bind_to(0);
    if (fork() == 0) {
        if (two)
            bind_to(1);
        close(ends[0].in);
        close(ends[0].out);
        if (pings)
            serve_pings(ends[1]);
        else if (strcmp(argv[2], "stream") == 0)
            serve_streams(ends[1]);
        else
            serve_streams_freshly(ends[1]);
        _exit(0);
    }
    close(ends[1].in);
    close(ends[1].out);
    if (pings)
        measure(ends[0], PING, PING, atol(argv[4]));
    else
        measure(ends[0], STREAM, 1, atol(argv[4]));
    fflush(stdout);
    _exit(0);
}
