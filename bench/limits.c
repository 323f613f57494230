/* SPDX-License-Identifier: MIT */
/*
 * What the kernel needs to move the bytes that a call moves, between two processes, with nothing else around: the limit.
 *
 *   limits TRANSPORT pingpong N    64 bytes there and back, N times
 *   limits TRANSPORT handover N    the same; each process reads in one thread and answers in another
 *   limits TRANSPORT stream N      64 MiB there, then 64 MiB back, N times
 *
 * TRANSPORT: unix, tcp (loopback) or stdio (a pair of pipes). Prints one time a line, in microseconds.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PING 64
#define STREAM (64u << 20)

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

/* ---- the process that answers, and the thread that it may hand over to ---- */

struct handover {
    sem_t given, taken;
    int out;
    char data[PING];
};

static void *answer(void *arg)
{
    struct handover *handover = arg;
    for (;;) {
        sem_wait(&handover->given);
        write_all(handover->out, handover->data, PING);
    }
    return NULL;
}

static void serve_pings(struct channel end, int with_handover)
{
    struct handover handover = {.out = end.out};
    pthread_t thread;
    sem_init(&handover.given, 0, 0);
    if (with_handover)
        pthread_create(&thread, NULL, answer, &handover);
    while (read_all(end.in, handover.data, PING)) {
        if (with_handover)
            sem_post(&handover.given);
        else
            write_all(end.out, handover.data, PING);
    }
}

static char *block(void)
{
    char *data = malloc(STREAM);
    check(data != NULL, "malloc");
    memset(data, 1, STREAM);
    return data;
}

static void serve_streams(struct channel end)
{
    char *data = block();
    while (read_all(end.in, data, STREAM))
        write_all(end.out, data, STREAM);
}

/* ---- the process that measures ---- */

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e6 + (double)at.tv_nsec / 1e3;
}

struct receiver {
    struct channel end;
    sem_t arrived;
};

static void *receive(void *arg)
{
    struct receiver *receiver = arg;
    char data[PING];
    while (read_all(receiver->end.in, data, PING))
        sem_post(&receiver->arrived);
    return NULL;
}

static void measure_pings(struct channel end, int with_handover, long count)
{
    struct receiver receiver = {.end = end};
    char data[PING] = {0};
    pthread_t thread;
    sem_init(&receiver.arrived, 0, 0);
    if (with_handover)
        pthread_create(&thread, NULL, receive, &receiver);
    for (long i = 0; i < count; i++) {
        double begin = now();
        write_all(end.out, data, PING);
        if (with_handover)
            sem_wait(&receiver.arrived);
        else
            check(read_all(end.in, data, PING), "read");
        printf("%.2f\n", now() - begin);
    }
}

static void measure_streams(struct channel end, long count)
{
    char *data = block();
    for (long i = 0; i < count; i++) {
        double begin = now();
        write_all(end.out, data, STREAM);
        check(read_all(end.in, data, STREAM), "read");
        printf("%.2f\n", now() - begin);
    }
}

int main(int argc, char **argv)
{
    struct channel ends[2];
    check(argc == 4, "usage: limits unix|tcp|stdio pingpong|handover|stream N");
    if (strcmp(argv[1], "unix") == 0)
        open_unix(ends);
    else if (strcmp(argv[1], "tcp") == 0)
        open_tcp(ends);
    else
        open_pipes(ends);
    int streams = strcmp(argv[2], "stream") == 0, with_handover = strcmp(argv[2], "handover") == 0;
    if (fork() == 0) {
        close(ends[0].in);
        close(ends[0].out);
        if (streams)
            serve_streams(ends[1]);
        else
            serve_pings(ends[1], with_handover);
        _exit(0);
    }
    close(ends[1].in);
    close(ends[1].out);
    if (streams)
        measure_streams(ends[0], atol(argv[3]));
    else
        measure_pings(ends[0], with_handover, atol(argv[3]));
    fflush(stdout);
    _exit(0);
}
