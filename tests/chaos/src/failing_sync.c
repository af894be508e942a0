/* Makes fsync and fdatasync fail while the file that CHAOS_SYNC names is there. Each failure is noted in a file beside it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(void) {
    const char *flag = getenv("CHAOS_SYNC");
    if (flag == NULL || access(flag, F_OK) != 0) {
        return 0;
    }
    char hit[4096];
    snprintf(hit, sizeof hit, "%s.hit", flag);
    int file = open(hit, O_WRONLY | O_CREAT, 0600);
    if (file >= 0) {
        close(file);
    }
    errno = EIO;
    return 1;
}

int fsync(int file) {
    static int (*real)(int);
    if (real == NULL) {
        real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    }
    return fails() ? -1 : real(file);
}

int fdatasync(int file) {
    static int (*real)(int);
    if (real == NULL) {
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    }
    return fails() ? -1 : real(file);
}
