/* The clients of `scripts/bench reload`: HTTP/1.1 on 127.0.0.1, one thread, as many connections as asked.

   load PORT KEEP ONCE KEEP_RATE ONCE_RATE KEEP_PATH ONCE_PATH
       KEEP clients use their connection for one request after the other, ONCE clients make a connection for
       each one; each kind makes at most so many requests a second. For each line on stdin it prints the
       counts so far; at stdin's end it waits for the requests under way, and prints the last counts, then
       a line for each one that was not answered on its connection: which count it went to (answers is 0),
       the connection's port over here, when it was made, and when it failed (CLOCK_MONOTONIC, nanoseconds).

   The counts are
     answers   whole ones, with status 200
     refused   connections that could not be made
     reset     errors other than a clean end, at any time
     cut       connections that ended before an answer was whole
     late      no answer within 15 s
     bad       other answers, and what nobody asked for
     crossed   requests on a kept connection that was just being closed: not a byte of an answer came. They
               are made again on another connection, as HTTP/1.1 has it (RFC 9112, 9.3.1)
     told      kept connections that ended as the last answer had told (Connection: close)
     closed    kept connections that ended between two requests
     slowest   the longest time from a request to its answer, in milliseconds
   The first five of the unwanted ones, and crossed where the server promises better, are failures. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"

enum { CLIENTS_MAX = 4096, ANSWER_MAX = 4096, EVENTS = 256, BURST_PARTS = 100, FAILURES_MAX = 65536 };
static const int64_t PATIENCE = 15000000000;

struct counts {
    long answers, refused, reset, cut, late, bad, crossed, told, closed;
    int64_t slowest;
};

struct kind {
    char request[256];
    int length, keeps;
    double rate, tokens;
    /* Clients that wait for their turn, in a ring. */
    struct client *waiting[CLIENTS_MAX];
    int first, count;
};

struct failure {
    int count, port;
    int64_t born, ended;
};

struct client {
    struct kind *kind;
    enum { WAITING, CONNECTING, READING } state;
    int fd, port;
    int64_t born;
    /* Requests answered on this connection. */
    long served;
    int64_t asked;
    int used;
    char answer[ANSWER_MAX + 1];
};

static struct kind kinds[2];
static struct client *clients;
static struct counts counts;
static struct failure failures[FAILURES_MAX];
static int failed;
static struct sockaddr_in server;
static int poller, under_way;

static void wait_for_turn(struct client *client) {
    struct kind *kind = client->kind;
    client->state = WAITING;
    kind->waiting[(kind->first + kind->count++) % CLIENTS_MAX] = client;
}

static void drop(struct client *client) {
    close(client->fd);
    client->fd = -1;
    client->served = 0;
}

static void connect_or_ask(struct client *client);

static void count_failure(struct client *client, long *count) {
    ++*count;
    if (failed == FAILURES_MAX) fail("too many failures");
    failures[failed++] = (struct failure){count - &counts.answers, client->port, client->born, now()};
}

/* The request under way has ended, well or not. */
static void end(struct client *client, long *count, int keep) {
    if (count == &counts.answers) ++*count;
    else count_failure(client, count);
    under_way--;
    if (!keep) drop(client);
    wait_for_turn(client);
}

static void ended_early(struct client *client, int error) {
    if (client->served > 0 && client->used == 0 && (error == 0 || error == ECONNRESET || error == EPIPE)) {
        count_failure(client, &counts.crossed);
        under_way--;
        drop(client);
        connect_or_ask(client);
    } else {
        end(client, error == 0 ? &counts.cut : &counts.reset, 0);
    }
}

static void ask(struct client *client) {
    client->state = READING;
    client->used = 0;
    ssize_t sent = send(client->fd, client->kind->request, client->kind->length, MSG_NOSIGNAL);
    if (sent != client->kind->length) ended_early(client, sent == -1 ? errno : EIO);
}

/* Whether the connection can be used for another request. */
static int is_open(struct client *client) {
    char byte;
    if (client->fd == -1) return 0;
    ssize_t seen = recv(client->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (seen == -1 && errno == EAGAIN) return 1;
    if (seen == 0) counts.closed++;
    else count_failure(client, seen > 0 ? &counts.bad : &counts.reset);
    drop(client);
    return 0;
}

static void connect_or_ask(struct client *client) {
    under_way++;
    client->asked = now();
    if (is_open(client)) {
        ask(client);
        return;
    }
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd == -1) fail("socket");
    client->state = CONNECTING;
    client->born = now();
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = client}};
    int refused = connect(client->fd, (struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS;
    struct sockaddr_in own = {0};
    socklen_t size = sizeof own;
    getsockname(client->fd, (struct sockaddr *)&own, &size);
    client->port = ntohs(own.sin_port);
    if (refused)
        end(client, &counts.refused, 0);
    else if (epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event) != 0)
        fail("epoll_ctl");
}

/* The value of a field of the head; NULL if it has none. */
static const char *field(const char *head, const char *name) {
    const char *line = head;
    while ((line = strstr(line, "\r\n")) != NULL && strncmp(line, "\r\n\r\n", 4) != 0) {
        line += 2;
        if (strncasecmp(line, name, strlen(name)) == 0) return line + strlen(name);
    }
    return NULL;
}

/* 1 for a whole answer, 0 for a part of one, -1 for none that is expected. */
static int judge(struct client *client, int *is_last) {
    char *answer = client->answer;
    answer[client->used] = 0;
    const char *body = strstr(answer, "\r\n\r\n");
    if (body == NULL) return client->used == ANSWER_MAX ? -1 : 0;
    const char *length = field(answer, "content-length:"), *connection = field(answer, "connection:");
    if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0 || length == NULL) return -1;
    int whole = body + 4 - answer + atoi(length);
    *is_last = connection != NULL && strncasecmp(connection + strspn(connection, " "), "close", 5) == 0;
    if (whole > ANSWER_MAX || client->used > whole) return -1;
    return client->used == whole;
}

static void answered(struct client *client, int is_last) {
    int64_t took = now() - client->asked;
    if (took > counts.slowest) counts.slowest = took;
    client->served++;
    if (is_last && client->kind->keeps) counts.told++;
    end(client, &counts.answers, client->kind->keeps && !is_last);
}

static void read_answer(struct client *client) {
    for (;;) {
        int is_last = 0, verdict = client->used > 0 ? judge(client, &is_last) : 0;
        if (verdict < 0) {
            end(client, &counts.bad, 0);
            return;
        }
        /* Who has one request for a connection waits for its end, which has to be a clean one. */
        if (verdict > 0 && client->kind->keeps) {
            answered(client, is_last);
            return;
        }
        ssize_t got = recv(client->fd, client->answer + client->used, ANSWER_MAX - client->used, 0);
        if (got > 0) {
            client->used += got;
        } else if (got == 0 && verdict > 0) {
            answered(client, is_last);
            return;
        } else if (got == 0 || errno != EAGAIN) {
            ended_early(client, got == 0 ? 0 : errno);
            return;
        } else {
            return;
        }
    }
}

static void happened(struct client *client) {
    int error = 0;
    socklen_t size = sizeof error;
    switch (client->state) {
    case WAITING:
        is_open(client);
        break;
    case CONNECTING:
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) {
            end(client, &counts.refused, 0);
            break;
        }
        ask(client);
        break;
    case READING:
        read_answer(client);
        break;
    }
}

/* Lets as many begin as the rate allows since the last time. */
static void begin(struct kind *kind, double seconds) {
    double most = kind->rate / BURST_PARTS + 1;
    kind->tokens += kind->rate * seconds;
    if (kind->tokens > most) kind->tokens = most;
    while (kind->tokens >= 1 && kind->count > 0) {
        struct client *client = kind->waiting[kind->first];
        kind->first = (kind->first + 1) % CLIENTS_MAX;
        kind->count--;
        kind->tokens--;
        connect_or_ask(client);
    }
}

static void give_up_late_ones(int total) {
    int64_t limit = now() - PATIENCE;
    for (int i = 0; i < total; i++)
        if (clients[i].state != WAITING && clients[i].asked < limit) end(&clients[i], &counts.late, 0);
}

static void print(void) {
    printf("%ld %ld %ld %ld %ld %ld %ld %ld %ld %ld\n", counts.answers, counts.refused, counts.reset, counts.cut,
           counts.late, counts.bad, counts.crossed, counts.told, counts.closed, (long)(counts.slowest / 1000000));
    fflush(stdout);
}

/* Whether there is more to come on stdin. */
static int heed_orders(void) {
    struct pollfd input = {0, POLLIN, 0};
    char orders[64];
    if (poll(&input, 1, 0) <= 0) return 1;
    ssize_t got = read(0, orders, sizeof orders);
    for (ssize_t i = 0; i < got; i++)
        if (orders[i] == '\n') print();
    return got > 0;
}

static void run(int total) {
    int64_t last = now(), looked = last;
    for (int goes_on = 1; goes_on || under_way > 0;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poller, events, EVENTS, 1);
        if (count == -1 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (client->fd != -1) happened(client);
        }
        int64_t time = now();
        if (goes_on)
            for (int i = 0; i < 2; i++) begin(&kinds[i], (double)(time - last) / SECOND);
        last = time;
        if (time - looked > SECOND) {
            looked = time;
            give_up_late_ones(total);
        }
        goes_on = goes_on && heed_orders();
    }
}

int main(int argc, char **words) {
    if (argc != 8) {
        fprintf(stderr, "load: see the head of scripts/load.c\n");
        return 2;
    }
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    poller = epoll_create1(EPOLL_CLOEXEC);
    clients = calloc(CLIENTS_MAX, sizeof *clients);
    int total = 0;
    for (int i = 0; i < 2; i++) {
        struct kind *kind = &kinds[i];
        kind->keeps = i == 0;
        kind->rate = atof(words[4 + i]);
        const char *close = kind->keeps ? "" : "Connection: close\r\n";
        kind->length = snprintf(kind->request, sizeof kind->request,
                                "GET %.100s HTTP/1.1\r\nHost: load\r\n%s\r\n", words[6 + i], close);
        for (int own = atoi(words[2 + i]); own > 0 && total < CLIENTS_MAX; own--, total++) {
            clients[total] = (struct client){.kind = kind, .fd = -1};
            wait_for_turn(&clients[total]);
        }
    }
    run(total);
    print();
    for (int i = 0; i < failed; i++) {
        struct failure *one = &failures[i];
        printf("%d %d %lld %lld\n", one->count, one->port, (long long)one->born, (long long)one->ended);
    }
    return 0;
}
