/* What scripts/bench measures to the microsecond. All times are CLOCK_MONOTONIC, in nanoseconds.

   bench start ROUNDS CMD... :: CMD... [:: ...]
       Runs each command to its end, in turn, ROUNDS times. A line for each: the median of its time, and
       the median of its difference to the first command in the same round.
   bench restart ROUNDS SUPERVISOR...
       Starts it with a pipe as stdout, in which its worker (bench-stamp) tells its PID and the time at which
       it began. Kills the worker with SIGKILL, ROUNDS times. A line: median, 90th percentile and maximum
       of the time from the kill to the next worker's first instruction.
   bench respawn COUNT WORKER
       A supervisor that does nothing but waitpid, vfork and exec, for so many workers: the floor.
   bench latency ROUNDS CMD... :: CMD... [:: ...]
       Starts each command, which runs `bench handler` at its end, and sends each one USR1, in turn, ROUNDS
       times. A line for each: median and 99th percentile of the time from the signal to the handler's begin,
       and the median of its difference to the first command in the same round.
   bench handler
       Writes the time (as bench-stamp does) when it can take a USR1, and at each one that it gets.
   bench orphans COUNT
       For each two bytes on stdin: at the first it has COUNT orphans and writes a stamp, at the second they
       all end.

   With -DSTAMP this is bench-stamp, the worker, without a C library's start. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct stamp {
    int64_t pid;
    int64_t at;
};

#ifdef STAMP

#ifdef __x86_64__
__attribute__((force_align_arg_pointer))
#endif
void _start(void) {
    struct timespec time;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
    struct stamp stamp = {syscall(SYS_getpid), time.tv_sec * INT64_C(1000000000) + time.tv_nsec};
    syscall(SYS_write, 1, &stamp, sizeof stamp);
    for (;;) syscall(SYS_ppoll, 0, 0, 0, 0, 0);
}

#else

#include "measure.h"

enum { ROUNDS_MAX = 100000, COMMANDS_MAX = 16 };

static int less(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* Sorts; the value that `percent` of them do not exceed. */
static int64_t percentile(int64_t *values, int count, int percent) {
    qsort(values, count, sizeof *values, less);
    return values[(count - 1) * percent / 100];
}

/* For so many nanoseconds, and by chance up to so many more. */
static void rest(long least, long more) {
    struct timespec time = {0, least + rand() % more};
    nanosleep(&time, NULL);
}

static pid_t spawn(char **command) {
    pid_t pid = vfork();
    if (pid == -1) fail("vfork");
    if (pid == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    return pid;
}

static int64_t run(char **command) {
    int64_t begin = now();
    pid_t pid = spawn(command);
    int status;
    if (waitpid(pid, &status, 0) != pid) fail("waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "bench: %s: status %x\n", command[0], status);
        exit(1);
    }
    return now() - begin;
}

/* Cuts the words at each `::`; how many commands they are. */
static int cut(char **words, char **commands[]) {
    int count = 0;
    commands[count++] = words;
    for (; *words; words++)
        if (strcmp(*words, "::") == 0) {
            *words = NULL;
            if (count < COMMANDS_MAX) commands[count++] = words + 1;
        }
    return count;
}

/* A line for each: median, 99th percentile, and the median of its difference to the first one. */
static void tell(int count, int rounds, int64_t *times[]) {
    int64_t *differences = calloc(rounds, sizeof *differences);
    for (int i = count - 1; i >= 0; i--) {
        for (int round = 0; round < rounds; round++)
            differences[round] = times[i][round] - times[0][round];
        int64_t difference = percentile(differences, rounds, 50);
        /* The first command's times are sorted last: all differences need them as they came. */
        int64_t median = percentile(times[i], rounds, 50), late = percentile(times[i], rounds, 99);
        printf("%d %lld %lld %lld\n", i, (long long)median, (long long)late, (long long)difference);
    }
}

static void start(int rounds, char **words) {
    char **commands[COMMANDS_MAX];
    int64_t *times[COMMANDS_MAX];
    int count = cut(words, commands);
    for (int i = 0; i < count; i++) {
        times[i] = calloc(rounds, sizeof **times);
        /* Once beforehand, for the caches. */
        run(commands[i]);
    }
    /* Each command is the first one of a round as often as the others. */
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < count; i++) {
            int which = (round + i) % count;
            times[which][round] = run(commands[which]);
        }
    tell(count, rounds, times);
}

static struct stamp next(int from) {
    struct stamp stamp;
    if (read(from, &stamp, sizeof stamp) != sizeof stamp) {
        fprintf(stderr, "bench: the supervisor ended\n");
        exit(1);
    }
    return stamp;
}

/* A command whose stamps can be read. */
struct supervisor {
    pid_t pid;
    int stamps;
};

static struct supervisor supervise(char **command) {
    int ends[2];
    if (pipe(ends) != 0) fail("pipe");
    pid_t pid = fork();
    if (pid == -1) fail("fork");
    if (pid == 0) {
        setpgid(0, 0);
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execvp(command[0], command);
        _exit(127);
    }
    close(ends[1]);
    return (struct supervisor){pid, ends[0]};
}

static void end(struct supervisor *one) {
    kill(one->pid, SIGTERM);
    waitpid(one->pid, NULL, 0);
}

static void restart(int rounds, char **command) {
    struct supervisor supervisor = supervise(command);
    int64_t *times = calloc(rounds, sizeof *times);
    struct stamp worker = next(supervisor.stamps);
    for (int round = 0; round < rounds; round++) {
        /* At any phase of the supervisor's millisecond, and with everybody at rest. */
        rest(5000000, 1000000);
        int64_t begin = now();
        kill(worker.pid, SIGKILL);
        worker = next(supervisor.stamps);
        times[round] = worker.at - begin;
    }
    end(&supervisor);
    int64_t median = percentile(times, rounds, 50), late = percentile(times, rounds, 90);
    printf("%lld %lld %lld\n", (long long)median, (long long)late, (long long)times[rounds - 1]);
}

static int stopped;

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

static void respawn(int count, char **command) {
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    for (int i = 0; i < count; i++) spawn(command);
    /* A TERM just before waitpid would be missed; whoever measures sends it when all is at rest. */
    while (waitpid(-1, NULL, 0) > 0)
        if (!stopped) spawn(command);
    /* The workers hold no more than a sleep: to the whole group, this one included. */
    kill(0, SIGKILL);
}

static void stamp(int signal) {
    (void)signal;
    struct stamp stamp = {getpid(), now()};
    if (write(1, &stamp, sizeof stamp) != sizeof stamp) _exit(1);
}

static void handler(void) {
    struct sigaction action = {.sa_handler = stamp};
    sigaction(SIGUSR1, &action, NULL);
    stamp(0);
    for (;;) pause();
}

static void latency(int rounds, char **words) {
    char **commands[COMMANDS_MAX];
    struct supervisor all[COMMANDS_MAX];
    int64_t *times[COMMANDS_MAX];
    int count = cut(words, commands);
    for (int i = 0; i < count; i++) {
        times[i] = calloc(rounds, sizeof **times);
        all[i] = supervise(commands[i]);
        next(all[i].stamps);
    }
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < count; i++) {
            int which = (round + i) % count;
            rest(200000, 800000);
            int64_t begin = now();
            kill(all[which].pid, SIGUSR1);
            times[which][round] = next(all[which].stamps).at - begin;
        }
    for (int i = 0; i < count; i++) end(&all[i]);
    tell(count, rounds, times);
}

/* So many processes without a parent, until the pipe of which this is the end for writing ends. */
static int orphan(int count) {
    int ends[2];
    if (pipe(ends) != 0) fail("pipe");
    pid_t parent = fork();
    if (parent == -1) fail("fork");
    if (parent == 0) {
        close(ends[1]);
        while (count-- > 0) {
            pid_t pid = fork();
            if (pid == -1) _exit(1);
            if (pid == 0) _exit(read(ends[0], &count, 1));
        }
        _exit(0);
    }
    close(ends[0]);
    int status;
    if (waitpid(parent, &status, 0) != parent || status != 0) fail("fork of an orphan");
    return ends[1];
}

static void orphans(int count) {
    char byte;
    while (read(0, &byte, 1) == 1) {
        int held = orphan(count);
        stamp(0);
        if (read(0, &byte, 1) != 1) return;
        close(held);
    }
}

int main(int count, char **words) {
    const char *mode = count > 1 ? words[1] : "";
    int rounds = count > 2 ? atoi(words[2]) : 0;
    if (rounds > ROUNDS_MAX) rounds = ROUNDS_MAX;
    if (strcmp(mode, "handler") == 0) handler();
    else if (strcmp(mode, "orphans") == 0 && rounds > 0) orphans(rounds);
    else if (strcmp(mode, "start") == 0 && rounds > 0 && words[3]) start(rounds, words + 3);
    else if (strcmp(mode, "latency") == 0 && rounds > 0 && words[3]) latency(rounds, words + 3);
    else if (strcmp(mode, "restart") == 0 && rounds > 0 && words[3]) restart(rounds, words + 3);
    else if (strcmp(mode, "respawn") == 0 && rounds > 0 && words[3]) respawn(rounds, words + 3);
    else {
        fprintf(stderr, "bench: see the head of scripts/bench.c\n");
        return 2;
    }
    return 0;
}

#endif
