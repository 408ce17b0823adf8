/* What the programs that measure share. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const int64_t SECOND = 1000000000;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* CLOCK_MONOTONIC, in nanoseconds. */
static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}
