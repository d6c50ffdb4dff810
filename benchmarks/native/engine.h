/* The generator itself: connections, statuses and the loop. Its commands are in load.c. */
#ifndef ENGINE_H
#define ENGINE_H

#include "device.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256
#define MAX_RUBBISH 64
#define MAX_WATCHED 64
#define NEVER UINT64_MAX
#define MS 1000000ull
#define SECOND 1000000000ull
#define RETRY_NS (100 * MS)
#define LATE_NS (1 * MS) /* an overdue status makes the generator late from then on */
#define STDIN_KEY UINT32_MAX

static struct sockaddr_in gateway;
static struct device *devices; /* the healthy ones, then MAX_RUBBISH others */
static uint32_t healthy, first_number, first_module = 1001, modules = 1;
static int epoll, is_over;

static struct { /* who wants a connection, in the order of when */
    uint32_t *device;
    uint64_t *at_ns;
    uint32_t first, count, room;
    uint32_t opening, window;
} queue;

static struct {
    int is_running, is_measuring, is_different;
    uint32_t rubbish;
    uint64_t pause_ns;
    uint64_t due_ns, period_ns; /* open loop: the next status, and between two; else NEVER */
    uint32_t next_device;
    uint64_t late_until_ns, late_ns;
    uint64_t answered, sent, owed, skipped, wrong, refused, closed, rubbish_sent, welcomed;
    uint64_t storm_ns, stormed; /* a storm began then; so many of it were answered */
} load;

static struct histogram round_trips, connects;

static int is_open_loop(void) { return load.period_ns != 0; }

/* ---- connections ------------------------------------------------------------------------- */

static void want_connection(struct device *d, uint64_t at_ns) {
    if (d->is_queued)
        return;
    d->is_queued = 1;
    uint32_t place = (queue.first + queue.count++) % queue.room;
    queue.device[place] = (uint32_t)(d - devices);
    queue.at_ns[place] = at_ns;
}

static void disconnect(struct device *d) {
    if (d->state == AWAY)
        return;
    if (d->state == OPENING || d->state == INTRODUCED)
        queue.opening--;
    close(d->fd);
    d->fd = -1;
    d->state = AWAY;
    d->rest_size = 0;
    d->owed_ns = 0;
}

static void lose(struct device *d, uint64_t now) {
    disconnect(d);
    if (!d->is_rubbish)
        load.closed++;
    if (!d->is_rubbish || load.rubbish)
        want_connection(d, now + (d->is_rubbish ? load.pause_ns : RETRY_NS));
}

static void open_connection(struct device *d, uint64_t now) {
    int yes = 1;
    d->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (d->fd < 0)
        die("socket");
    setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    d->state = OPENING;
    d->asked_ns = now;
    queue.opening++;
    if (connect(d->fd, (struct sockaddr *)&gateway, sizeof gateway) && errno != EINPROGRESS) {
        lose(d, now);
        return;
    }
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = (uint32_t)(d - devices)};
    epoll_ctl(epoll, EPOLL_CTL_ADD, d->fd, &event);
}

static void open_wanted(uint64_t now) {
    while (queue.count && queue.opening < queue.window && queue.at_ns[queue.first] <= now) {
        struct device *d = &devices[queue.device[queue.first]];
        queue.first = (queue.first + 1) % queue.room;
        queue.count--;
        d->is_queued = 0;
        open_connection(d, now);
    }
}

static void send_bytes(struct device *d, const uint8_t *bytes, size_t size, uint64_t now) {
    if (send(d->fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
        lose(d, now);
}

static void role_of(const struct device *d, char *role) {
    snprintf(role, ROLE_BYTES + 1, "%c%06u", d->is_rubbish ? 'r' : 'd',
             (first_number + (uint32_t)(d - devices)) % 1000000);
}

static void introduce(struct device *d, uint64_t now) {
    uint8_t frame[128];
    char role[32];
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        lose(d, now);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)(d - devices)};
    epoll_ctl(epoll, EPOLL_CTL_MOD, d->fd, &event);
    d->state = INTRODUCED;
    role_of(d, role);
    uint32_t module = first_module + (uint32_t)(d - devices) % modules;
    send_bytes(d, frame, put_connect(frame, module, role), now);
}

/* ---- statuses ---------------------------------------------------------------------------- */

static void send_status(struct device *d, uint64_t now, uint64_t asked_ns) {
    if (load.is_different)
        change_status(d);
    d->asked_ns = asked_ns;
    d->state = WAITING;
    load.sent++;
    send_bytes(d, d->frame, FRAME_BYTES, now);
}

static void send_rubbish(struct device *d, uint64_t now) {
    uint8_t frame[FRAME_BYTES];
    load.rubbish_sent++;
    d->state = WAITING;
    send_bytes(d, frame, put_rubbish(d, frame), now);
}

static void welcome(struct device *d, uint64_t now) {
    queue.opening--;
    load.welcomed++;
    record(&connects, now - d->asked_ns);
    d->state = READY;
    if (d->is_rubbish)
        send_rubbish(d, now);
    else if (load.storm_ns || (load.is_running && !is_open_loop()))
        send_status(d, now, now);
}

static void take_command(struct device *d, uint64_t now) {
    d->state = READY;
    if (load.storm_ns) {
        record(&round_trips, now - load.storm_ns);
        load.stormed++;
        return;
    }
    if (load.is_measuring) {
        record(&round_trips, now - d->asked_ns);
        load.answered++;
    }
    if (!load.is_running)
        return;
    if (!is_open_loop()) {
        send_status(d, now, now);
    } else if (d->owed_ns) {
        uint64_t owed_ns = d->owed_ns;
        d->owed_ns = 0;
        send_status(d, now, owed_ns);
    }
}

static void take_message(struct device *d, const uint8_t *message, size_t size, uint64_t now) {
    if (d->state == WAITING && is_own_command(d, message, size)) {
        take_command(d, now);
    } else if (d->state == INTRODUCED && is_welcome(message, size)) {
        welcome(d, now);
    } else {
        *(d->state == INTRODUCED ? &load.refused : &load.wrong) += 1;
        lose(d, now);
    }
}

static void receive(struct device *d, uint64_t now) {
    static uint8_t buffer[128 * 1024];
    size_t have = d->rest_size, used = 0;
    if (have)
        memcpy(buffer, d->rest, have);
    ssize_t got = recv(d->fd, buffer + have, sizeof buffer - have, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            lose(d, now);
        return;
    }
    have += (size_t)got;
    while (have - used >= HEADER_BYTES && d->state != AWAY) {
        size_t size = frame_size(buffer + used);
        if (have - used < HEADER_BYTES + size)
            break;
        take_message(d, buffer + used + HEADER_BYTES, size, now);
        used += HEADER_BYTES + size;
    }
    if (d->state == AWAY || (have == used && !d->rest_size))
        return;
    if (have - used > d->rest_size)
        d->rest = realloc(d->rest, have - used);
    d->rest_size = have - used;
    if (d->rest_size)
        memcpy(d->rest, buffer + used, d->rest_size);
}

/* Sends what is due in an open loop; a device that still waits owes its status. */
static void send_due(uint64_t now) {
    while (load.due_ns <= now) {
        struct device *d = &devices[load.next_device++ % healthy];
        uint64_t late_from = load.due_ns + LATE_NS;
        if (late_from < load.late_until_ns)
            late_from = load.late_until_ns;
        if (load.is_measuring && now > late_from) {
            load.late_ns += now - late_from;
            load.late_until_ns = now;
        }
        if (d->state == READY)
            send_status(d, now, load.due_ns);
        else if (d->state == WAITING && !d->owed_ns)
            d->owed_ns = load.due_ns, load.owed += (uint64_t)load.is_measuring;
        else
            load.skipped += (uint64_t)load.is_measuring;
        load.due_ns += load.period_ns;
    }
}

/* ---- the loop ---------------------------------------------------------------------------- */

static char line[4096];
static size_t line_size;

/* One turn: what is due, then what arrives until `until_ns`. Returns how long it slept. */
static uint64_t turn(uint64_t until_ns) {
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns(), wake_ns = until_ns;
    open_wanted(now);
    if (load.period_ns)
        send_due(now);
    if (load.period_ns && load.due_ns < wake_ns)
        wake_ns = load.due_ns;
    if (queue.count && queue.opening < queue.window && queue.at_ns[queue.first] < wake_ns)
        wake_ns = queue.at_ns[queue.first];
    uint64_t begin = now_ns(), wait_ns = wake_ns > begin ? wake_ns - begin : 0;
    struct timespec wait = {(time_t)(wait_ns / SECOND), (long)(wait_ns % SECOND)};
    int ready = epoll_pwait2(epoll, events, EVENTS, wake_ns == NEVER ? NULL : &wait, NULL);
    uint64_t slept = now_ns() - begin;
    for (int i = 0; i < ready; i++) {
        if (events[i].data.u32 == STDIN_KEY) {
            ssize_t got = read(STDIN_FILENO, line + line_size, sizeof line - 1 - line_size);
            is_over |= got <= 0;
            line_size += got > 0 ? (size_t)got : 0;
            continue;
        }
        struct device *d = &devices[events[i].data.u32];
        now = now_ns();
        if (d->state == OPENING)
            introduce(d, now);
        else if (d->state != AWAY)
            receive(d, now);
    }
    return slept;
}

static uint32_t count_in(enum state state, uint32_t many) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < many; i++)
        count += devices[i].state == state;
    return count;
}

#endif
