/* SPDX-License-Identifier: MIT */
/*
 * Whether large data would be quicker in a sealed memfd, passed over a unix socket and mapped, than in the socket
 * itself.
 *
 *   memfd socket BYTES N   write(), and read() into memory that is new, in large pages
 *   memfd warm BYTES N     the same, into memory that was used before
 *   memfd memfd BYTES N    a new memfd each time: write() into it, seals, SCM_RIGHTS, mmap()
 *   memfd reused BYTES N   one memfd that is written again and again, not sealed: what a pool of them could do at best
 *
 * BYTES go to another process, which reads a byte of each page and answers with one byte. Prints one time a line, in
 * microseconds.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LARGE_PAGE ((size_t)2 << 20)
#define PAGE 4096
#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static size_t size;

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e6 + (double)at.tv_nsec / 1e3;
}

static void write_all(int fd, const char *data)
{
    for (size_t left = size; left > 0;) {
        ssize_t sent = write(fd, data, left);
        check(sent > 0, "write");
        data += sent;
        left -= (size_t)sent;
    }
}

static void read_all(int fd, char *data)
{
    for (size_t left = size; left > 0;) {
        ssize_t got = read(fd, data, left);
        if (got <= 0)
            _exit(0);
        data += got;
        left -= (size_t)got;
    }
}

/* What who uses the data does at least. */
static void touch(const char *data)
{
    volatile char sum = 0;
    for (size_t i = 0; i < size; i += PAGE)
        sum = (char)(sum + data[i]);
}

/* ---- through the socket ---- */

static void receive_stream(int fd, int warm)
{
    char *memory = NULL;
    for (;;) {
        if (memory == NULL) {
            memory = mmap(NULL, size + LARGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            check(memory != MAP_FAILED, "mmap");
            madvise(memory, size + LARGE_PAGE, MADV_HUGEPAGE);
        }
        read_all(fd, memory);
        touch(memory);
        check(write(fd, "", 1) == 1, "write");
        if (!warm) {
            munmap(memory, size + LARGE_PAGE);
            memory = NULL;
        }
    }
}

/* ---- through a memfd ---- */

static void send_fd(int fd, int passed)
{
    char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &passed, sizeof passed);
    check(sendmsg(fd, &message, 0) == 1, "sendmsg");
}

static int receive_fd(int fd)
{
    int passed;
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(fd, &message, 0) <= 0)
        _exit(0);
    memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof passed);
    return passed;
}

static void send_memfd(int fd, const char *data, int reused)
{
    static int kept = -1;
    int memory = kept;
    if (memory < 0)
        memory = memfd_create("data", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    check(memory >= 0 && lseek(memory, 0, SEEK_SET) == 0, "memfd_create");
    write_all(memory, data);
    check(reused || fcntl(memory, F_ADD_SEALS, SEALS) == 0, "F_ADD_SEALS");
    send_fd(fd, memory);
    if (reused)
        kept = memory;
    else
        close(memory);
}

static void receive_memfd(int fd)
{
    for (;;) {
        int memory = receive_fd(fd);
        /* Private, as an array that may be written needs it. */
        char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory, 0);
        check(data != MAP_FAILED, "mmap");
        touch(data);
        check(write(fd, "", 1) == 1, "write");
        munmap(data, size);
        close(memory);
    }
}

int main(int argc, char **argv)
{
    int ends[2];
    check(argc == 4, "usage: memfd socket|warm|memfd|reused BYTES N");
    size = strtoull(argv[2], NULL, 10);
    int warm = strcmp(argv[1], "warm") == 0, reused = strcmp(argv[1], "reused") == 0;
    int stream = warm || strcmp(argv[1], "socket") == 0;
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    if (fork() == 0) {
        close(ends[0]);
        if (stream)
            receive_stream(ends[1], warm);
        else
            receive_memfd(ends[1]);
    }
    close(ends[1]);
    int room = 512 * 1024;
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    char answer, *data = malloc(size);
    check(data != NULL, "malloc");
    memset(data, 1, size);
    for (long i = 0; i < atol(argv[3]); i++) {
        double begin = now();
        if (stream)
            write_all(ends[0], data);
        else
            send_memfd(ends[0], data, reused);
        check(read(ends[0], &answer, 1) == 1, "read");
        printf("%.2f\n", now() - begin);
    }
    return 0;
}
