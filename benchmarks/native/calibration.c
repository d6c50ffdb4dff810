/* An empty gateway: what this machine allows at most.
 *
 *     calibration [PORT]
 *
 * Takes every device, answers its connect with OK and each status with an empty command of the same
 * device, and does nothing else: no validation, no module, no store, no upstream. One thread, one
 * read and one write per status, the reply made once per connection. Prints its port and ends when
 * its standard input does.
 */
#define _GNU_SOURCE
#include "fleet.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FDS 65536
#define MAX_MESSAGE (64 * 1024)
#define EVENTS 256

struct connection {
    uint8_t *reply; /* NULL until the device has introduced itself */
    size_t reply_size;
    uint8_t *rest; /* the beginning of a frame whose end has not come */
    size_t rest_size;
};

static struct connection connections[MAX_FDS];

static void forget(int fd) {
    free(connections[fd].reply);
    free(connections[fd].rest);
    connections[fd] = (struct connection){0};
    close(fd);
}

/* A connect: {1: {1: device}}. Answers {1: {2: device}} and prepares {2: {1: device}}. */
static int introduce(struct connection *c, const uint8_t *message, size_t size, uint8_t *out) {
    struct field outer, device;
    if (!next_field(message, message + size, &outer) || outer.number != 1 || !outer.bytes)
        return -1;
    if (!next_field(outer.bytes, outer.bytes + outer.size, &device) || !device.bytes)
        return -1;
    uint8_t *inner = malloc(3 * (device.size + 32));
    uint8_t *body = inner + device.size + 32, *reply = body + device.size + 32;
    size_t inner_size = (size_t)(put_bytes(inner, BYTES_FIELD(1), device.bytes, device.size) - inner);
    size_t body_size = (size_t)(put_bytes(body, BYTES_FIELD(2), inner, inner_size) - body);
    c->reply_size = put_frame(reply, body, body_size);
    c->reply = malloc(c->reply_size);
    memcpy(c->reply, reply, c->reply_size);
    inner_size = (size_t)(put_bytes(inner, BYTES_FIELD(2), device.bytes, device.size) - inner);
    body_size = (size_t)(put_bytes(body, BYTES_FIELD(1), inner, inner_size) - body);
    int answer_size = (int)put_frame(out, body, body_size);
    free(inner);
    return answer_size;
}

/* Answers the frames in `bytes`; returns how many bytes they took, -1 for an unfit one. */
static ssize_t serve(int fd, const uint8_t *bytes, size_t size) {
    struct connection *c = &connections[fd];
    uint8_t answer[4096];
    size_t used = 0;
    while (size - used >= HEADER_BYTES) {
        const uint8_t *frame = bytes + used;
        size_t length = frame_size(frame);
        if (!length || length > MAX_MESSAGE)
            return -1;
        if (size - used < HEADER_BYTES + length)
            break;
        used += HEADER_BYTES + length;
        const uint8_t *out = c->reply;
        ssize_t out_size = (ssize_t)c->reply_size;
        if (!c->reply) {
            if (length > sizeof answer - 64)
                return -1;
            out = answer;
            out_size = introduce(c, frame + HEADER_BYTES, length, answer);
        } else if (frame[HEADER_BYTES] != BYTES_FIELD(2)) {
            return -1;
        }
        if (out_size < 0 || send(fd, out, (size_t)out_size, MSG_NOSIGNAL) != out_size)
            return -1;
    }
    return (ssize_t)used;
}

static int receive(int fd) {
    static uint8_t buffer[2 * MAX_MESSAGE];
    struct connection *c = &connections[fd];
    size_t have = c->rest_size;
    if (have)
        memcpy(buffer, c->rest, have);
    ssize_t got = recv(fd, buffer + have, sizeof buffer - have, MSG_DONTWAIT);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    have += (size_t)got;
    ssize_t used = serve(fd, buffer, have);
    if (used < 0)
        return -1;
    size_t rest_size = have - (size_t)used;
    if (rest_size > c->rest_size)
        c->rest = realloc(c->rest, rest_size);
    c->rest_size = rest_size;
    if (rest_size)
        memcpy(c->rest, buffer + used, rest_size);
    return 0;
}

static void accept_all(int listener, int epoll) {
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FDS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        die("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = STDIN_FILENO;
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener, epoll);
            else if (fd == STDIN_FILENO)
                return 0;
            else if (receive(fd))
                forget(fd);
        }
    }
}
