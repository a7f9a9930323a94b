/* LD_PRELOAD: a disk that fails or is slow, for files whose name holds "chatd.sqlite".
 *
 * The file named by FAULTY_DISK says what is wrong with it, in one line, read at each call:
 *   CALL ERRNO COUNT    the next COUNT calls fail (CALL: write or sync)
 *   CALL slow MS        each such call takes so many milliseconds more
 * An empty file: all is well. COUNT counts from when the line was written.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static char said[100];
static int done;

static int ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return strstr(path, "chatd.sqlite") && !strstr(path, "-shm") && !strstr(path, ".lock")
        && !strstr(path, ".mark");
}

static int fault(int fd, const char *call) {
    const char *name = getenv("FAULTY_DISK");
    char line[100] = "", which[20] = "", what[20] = "";
    int number = 0;
    FILE *file = name && ours(fd) ? fopen(name, "re") : NULL;
    if (!file)
        return 0;
    if (!fgets(line, sizeof line, file))
        line[0] = 0;
    fclose(file);
    if (strcmp(line, said)) {
        strcpy(said, line);
        done = 0;
    }
    if (sscanf(line, "%19s %19s %d", which, what, &number) < 3 || strcmp(which, call))
        return 0;
    if (!strcmp(what, "slow")) {
        struct timespec pause = {number / 1000, number % 1000 * 1000000L};
        nanosleep(&pause, NULL);
        return 0;
    }
    if (done >= number)
        return 0;
    done++;
    return !strcmp(what, "ENOSPC") ? ENOSPC : !strcmp(what, "EROFS") ? EROFS : EIO;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(fd, call) \
    do { \
        int wrong = fault(fd, call); \
        if (wrong) { \
            errno = wrong; \
            return -1; \
        } \
    } while (0)

ssize_t write(int fd, const void *data, size_t size) {
    FAIL(fd, "write");
    return REAL(write)(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t place) {
    FAIL(fd, "write");
    return REAL(pwrite)(fd, data, size, place);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place) {
    FAIL(fd, "write");
    return REAL(pwrite64)(fd, data, size, place);
}

int fsync(int fd) {
    FAIL(fd, "sync");
    return REAL(fsync)(fd);
}

int fdatasync(int fd) {
    FAIL(fd, "sync");
    return REAL(fdatasync)(fd);
}
