/* LD_PRELOAD: a time of day that is set from outside, while monotonic clocks stay as they are.
 *
 * The file named by TIME_OF_DAY holds how many seconds it is ahead, as a 64-bit number; it is mapped
 * when the time is first read with that variable set, so a process may be forked before it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *given;

static int64_t ahead(void) {
    const char *name = given ? NULL : getenv("TIME_OF_DAY");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *page = mmap(NULL, sizeof *given, PROT_READ, MAP_SHARED, file, 0);
        close(file);
        given = page == MAP_FAILED ? NULL : page;
    }
    return given ? *given : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (__typeof__(real))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (!status && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += ahead();
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec fine;
    (void)zone;
    int status = clock_gettime(CLOCK_REALTIME, &fine);
    if (!status)
        *now = (struct timeval){fine.tv_sec, fine.tv_nsec / 1000};
    return status;
}

time_t time(time_t *copy) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (copy)
        *copy = fine.tv_sec;
    return fine.tv_sec;
}
