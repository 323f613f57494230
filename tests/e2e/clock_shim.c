/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into processes of a test: their wall clock is off by as many seconds as the file says that AX_CLOCK_FILE
 * names, at any moment. The clock that never goes back is left alone. Waits that end at a time of the wall clock end
 * when they would if it had been set for the whole system.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *file;

__attribute__((constructor)) static void map_file(void)
{
    const char *path = getenv("AX_CLOCK_FILE");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *memory = fd >= 0 ? mmap(NULL, sizeof *file, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (memory != MAP_FAILED)
        file = memory;
    if (fd >= 0)
        close(fd);
}

static int64_t offset(void)
{
    return file != NULL ? *file : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += offset();
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result != NULL)
        *result = now.tv_sec;
    return now.tv_sec;
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict end)
{
    static int (*original)(sem_t *, const struct timespec *);
    struct timespec real = *end;
    if (original == NULL)
        *(void **)&original = dlsym(RTLD_NEXT, "sem_timedwait");
    real.tv_sec -= offset();
    return original(semaphore, &real);
}
