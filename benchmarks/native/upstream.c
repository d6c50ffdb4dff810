/* A light stand-in of a control plane: the connect sequence and the acknowledgements, nothing else.
 *
 *     upstream HOST PORT COMPANY VEHICLE
 *
 * Speaks MQTT 3.1.1 with QoS 1 to the broker, as the existing external server does: tells that it
 * is there (disconnect notification), answers Connect, acknowledges each status, commands every
 * announced device once with an empty command. Knows none of the optional extensions. Comes back by
 * itself after 10 ms when the broker goes away. Takes commands on standard input:
 *
 *     reset                  forget what was counted
 *     report                 what was counted since, as one line of JSON
 *     window FROM_NS TO_NS   statuses in that time (CLOCK_MONOTONIC), and the longest pause in it
 *
 * Devices are those of `load`: number N has the role "dN" and counts in "n" of its status.
 */
#define _GNU_SOURCE
#include "mqtt.h"
#include "report.h"

#include <poll.h>

#define MAX_DEVICES 1000000
#define BATCHES (1u << 20)
#define RETRY_MS 10

static struct {
    char id[128];
    size_t id_size;
    uint32_t announced, connecting, commanded, answered;
    uint8_t **device; /* length (4 bytes) and bytes of each announced one */
    uint32_t room;
} session;

static struct { /* per turn in which statuses came: when, and how many there were until then */
    uint64_t *at_ns, *total;
    uint32_t count;
} batches;

static struct {
    uint64_t statuses, running, connecting, left, sessions, strangers, unreadable;
    uint64_t missing, backwards;
    uint64_t subscribed_ns, connect_ns, first_status_ns, ready_ns;
} seen;

static uint32_t *last_number;
static uint64_t now; /* of this turn */

/* ---- messages to the gateway ------------------------------------------------------------- */

/* {2: {1: session, 3: counter}} */
static void acknowledge(uint64_t counter) {
    uint8_t body[192], message[200], *at = body;
    at = put_bytes(at, BYTES_FIELD(1), session.id, session.id_size);
    if (counter) {
        *at++ = VARINT_FIELD(3);
        at = put_varint(at, counter);
    }
    publish(TO_GATEWAY, message,
            (size_t)(put_bytes(message, BYTES_FIELD(2), body, (size_t)(at - body)) - message));
}

/* {1: {1: session}}: OK */
static void accept_session(void) {
    uint8_t body[192], message[200];
    size_t size = (size_t)(put_bytes(body, BYTES_FIELD(1), session.id, session.id_size) - body);
    publish(TO_GATEWAY, message, (size_t)(put_bytes(message, BYTES_FIELD(1), body, size) - message));
}

/* {3: {1: session, 2: counter, 3: {1: device}}} for every announced device */
static void command_all(void) {
    for (uint32_t i = 0; i < session.announced; i++) {
        uint8_t command[1100], body[1400], message[1500], *at = body;
        uint32_t device_size;
        memcpy(&device_size, session.device[i], sizeof device_size);
        size_t size = (size_t)(put_bytes(command, BYTES_FIELD(1), session.device[i] + 4, device_size) - command);
        at = put_bytes(at, BYTES_FIELD(1), session.id, session.id_size);
        if (i) {
            *at++ = VARINT_FIELD(2);
            at = put_varint(at, i);
        }
        at = put_bytes(at, BYTES_FIELD(3), command, size);
        publish(TO_GATEWAY, message,
                (size_t)(put_bytes(message, BYTES_FIELD(3), body, (size_t)(at - body)) - message));
    }
    session.commanded = session.announced;
}

/* ---- messages from the gateway ----------------------------------------------------------- */

static void announce(const struct field *device) {
    if (device->size > 1024)
        return;
    if (session.announced == session.room) {
        session.room = session.room ? 2 * session.room : 64;
        session.device = realloc(session.device, session.room * sizeof *session.device);
    }
    uint8_t *copy = malloc(4 + device->size);
    uint32_t size = (uint32_t)device->size;
    memcpy(copy, &size, 4);
    memcpy(copy + 4, device->bytes, device->size);
    session.device[session.announced++] = copy;
}

static void take_connect(const uint8_t *at, const uint8_t *end) {
    struct field field;
    for (uint32_t i = 0; i < session.announced; i++)
        free(session.device[i]);
    session.announced = session.connecting = session.commanded = session.answered = 0;
    session.id_size = 0;
    while ((at = next_field(at, end, &field))) {
        if (field.number == 1 && field.bytes && field.size < sizeof session.id) {
            memcpy(session.id, field.bytes, field.size);
            session.id_size = field.size;
        } else if (field.number == 4 && field.bytes) {
            announce(&field);
        }
    }
    seen.sessions++;
    if (!seen.connect_ns)
        seen.connect_ns = now;
    accept_session();
}

/* The number of the device in its role, -1 for a device that is not of `load`. */
static long number_of(const uint8_t *at, const uint8_t *end) {
    struct field field;
    long number = 0;
    while ((at = next_field(at, end, &field)))
        if (field.number == 3 && field.bytes && field.size == 7 && field.bytes[0] == 'd') {
            for (size_t i = 1; i < field.size; i++)
                number = number * 10 + (field.bytes[i] - '0');
            return number >= 0 && number < MAX_DEVICES ? number : -1;
        }
    return -1;
}

/* Compares the number in a status with the one before. */
static void check_order(long device, const struct field *status) {
    static const char key[] = "\"n\": ";
    const uint8_t *end = status->bytes + status->size;
    const uint8_t *at = memmem(status->bytes, status->size, key, sizeof key - 1);
    uint32_t number = 0;
    if (!at || device < 0)
        return;
    for (at += sizeof key - 1; at < end && *at == ' ';)
        at++;
    while (at < end && *at >= '0' && *at <= '9')
        number = number * 10 + (uint32_t)(*at++ - '0');
    if (number < last_number[device])
        seen.backwards++;
    else if (last_number[device] && number > last_number[device] + 1)
        seen.missing += number - last_number[device] - 1;
    last_number[device] = number;
}

static void take_status(const uint8_t *at, const uint8_t *end) {
    struct field field, device = {0}, status = {0};
    uint64_t state = 0, counter = 0;
    int is_ours = 0;
    while ((at = next_field(at, end, &field))) {
        if (field.number == 1 && field.bytes)
            is_ours = field.size == session.id_size && !memcmp(field.bytes, session.id, field.size);
        else if (field.number == 2)
            state = field.value;
        else if (field.number == 3)
            counter = field.value;
        else if (field.number == 4 && field.bytes) {
            const uint8_t *inner = field.bytes, *inner_end = inner + field.size;
            struct field part;
            while ((inner = next_field(inner, inner_end, &part)))
                *(part.number == 1 ? &device : &status) = part;
        }
    }
    if (!is_ours) {
        seen.strangers++;
        return;
    }
    acknowledge(counter);
    seen.statuses++;
    if (!seen.first_status_ns)
        seen.first_status_ns = now;
    if (status.bytes && device.bytes)
        check_order(number_of(device.bytes, device.bytes + device.size), &status);
    seen.running += state == 1;
    seen.left += state == 3;
    if (state)
        return;
    seen.connecting++;
    if (++session.connecting == session.announced && !session.commanded)
        command_all();
}

static void take_publish(const uint8_t *message, size_t size) {
    struct field field;
    if (!next_field(message, message + size, &field) || !field.bytes) {
        seen.unreadable++;
        return;
    }
    const uint8_t *end = field.bytes + field.size;
    if (field.number == 1)
        take_connect(field.bytes, end);
    else if (field.number == 2)
        take_status(field.bytes, end);
    else if (field.number == 3 && ++session.answered == session.announced)
        seen.ready_ns = now;
}

static void note_batch(uint64_t before) {
    if (seen.statuses == before)
        return;
    uint32_t place = batches.count++ % BATCHES;
    batches.at_ns[place] = now;
    batches.total[place] = seen.statuses;
}

/* ---- commands on standard input ----------------------------------------------------------- */

static void report_window(uint64_t from, uint64_t to) {
    uint32_t oldest = batches.count > BATCHES ? batches.count - BATCHES : 0;
    uint64_t before = 0, last = 0, previous_ns = from, longest = 0;
    for (uint32_t i = oldest; i != batches.count; i++) {
        uint64_t at = batches.at_ns[i % BATCHES];
        if (at < from)
            before = batches.total[i % BATCHES];
        if (at < from || at > to)
            continue;
        last = batches.total[i % BATCHES];
        if (at - previous_ns > longest)
            longest = at - previous_ns;
        previous_ns = at;
    }
    if (to - previous_ns > longest)
        longest = to - previous_ns;
    printf("{\"statuses\": %llu, \"per_s\": %.1f, \"longest_pause_ms\": %.3f}\n",
           (unsigned long long)(last > before ? last - before : 0),
           last > before ? (double)(last - before) / ((double)(to - from) * 1e-9) : 0,
           (double)longest * 1e-6);
}

static void report(void) {
    const struct { const char *name; uint64_t value; } lines[] = {
        {"running", seen.running}, {"connecting", seen.connecting}, {"left", seen.left},
        {"sessions", seen.sessions}, {"strangers", seen.strangers}, {"unreadable", seen.unreadable},
        {"missing", seen.missing}, {"backwards", seen.backwards}, {"announced", session.announced},
        {"subscribed_ns", seen.subscribed_ns}, {"connect_ns", seen.connect_ns},
        {"first_status_ns", seen.first_status_ns}, {"ready_ns", seen.ready_ns}};
    printf("{\"statuses\": %llu", (unsigned long long)seen.statuses);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        printf(", \"%s\": %llu", lines[i].name, (unsigned long long)lines[i].value);
    printf(", \"own_cpu_s\": %.6f}\n", own_cpu_s());
}

static void reset(void) {
    memset(&seen, 0, sizeof seen);
    memset(last_number, 0, MAX_DEVICES * sizeof *last_number);
    batches.count = 0;
    printf("{}\n");
}

static void obey(void) {
    char line[256];
    unsigned long long from, to;
    ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);
    if (got <= 0)
        exit(0);
    line[got] = 0;
    if (sscanf(line, "window %llu %llu", &from, &to) == 2)
        report_window(from, to);
    else if (!strncmp(line, "reset", 5))
        reset();
    else
        report();
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "upstream HOST PORT COMPANY VEHICLE\n");
        return 2;
    }
    last_number = calloc(MAX_DEVICES, sizeof *last_number);
    batches.at_ns = calloc(BATCHES, sizeof *batches.at_ns);
    batches.total = calloc(BATCHES, sizeof *batches.total);
    name_topics(argv[3], argv[4]);
    for (;;) {
        if (broker.fd < 0 && open_broker(argv[1], atoi(argv[2])))
            session.id_size = 0; /* of an earlier life */
        struct pollfd ready[2] = {{STDIN_FILENO, POLLIN, 0},
                                  {broker.fd, (short)(POLLIN | (broker.out_size ? POLLOUT : 0)), 0}};
        poll(ready, 2, broker.fd < 0 ? RETRY_MS : -1);
        now = now_ns();
        if (ready[0].revents)
            obey();
        if (broker.fd < 0 || !ready[1].revents)
            continue;
        uint64_t before = seen.statuses;
        if (receive_packets(take_publish))
            seen.subscribed_ns = now;
        note_batch(before);
        send_packets();
    }
}
