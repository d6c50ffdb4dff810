/* Frames of the internal protocol, time and a histogram: shared by the programs of this folder.
 *
 * A frame is a little-endian length of 4 bytes and one protobuf message (docs: fleet protocol 1.1).
 * Only what a load needs is written here: fields below 16, lengths below 2^28.
 */
#ifndef FLEET_H
#define FLEET_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HEADER_BYTES 4
#define FIELD(number, wire_type) ((uint8_t)((number) << 3 | (wire_type)))
#define BYTES_FIELD(number) FIELD(number, 2)
#define VARINT_FIELD(number) FIELD(number, 0)

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline double own_cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- protobuf ---------------------------------------------------------------------------- */

static inline uint8_t *put_varint(uint8_t *at, uint64_t value) {
    while (value > 127) {
        *at++ = (uint8_t)(value | 128);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static inline uint8_t *put_bytes(uint8_t *at, uint8_t tag, const void *bytes, size_t size) {
    *at++ = tag;
    at = put_varint(at, size);
    memcpy(at, bytes, size);
    return at + size;
}

/* The value at `at`; NULL instead of the place behind it when it does not end before `end`. */
static inline const uint8_t *get_varint(const uint8_t *at, const uint8_t *end, uint64_t *value) {
    *value = 0;
    for (int shift = 0; at < end && shift < 64; shift += 7) {
        *value |= (uint64_t)(*at & 127) << shift;
        if (!(*at++ & 128))
            return at;
    }
    return NULL;
}

struct field {
    uint32_t number;
    uint64_t value;       /* of a varint or a fixed number */
    const uint8_t *bytes; /* of a field with a length, else NULL */
    size_t size;
};

/* The place behind the next field, NULL at the end and when nothing can be read. */
static inline const uint8_t *next_field(const uint8_t *at, const uint8_t *end, struct field *field) {
    uint64_t tag;
    if (at >= end || !(at = get_varint(at, end, &tag)))
        return NULL;
    *field = (struct field){.number = (uint32_t)(tag >> 3)};
    size_t width = (tag & 7) == 1 ? 8 : 4;
    switch (tag & 7) {
    case 0:
        return get_varint(at, end, &field->value);
    case 1:
    case 5:
        if ((size_t)(end - at) < width)
            return NULL;
        memcpy(&field->value, at, width);
        return at + width;
    case 2:
        if (!(at = get_varint(at, end, &field->value)) || field->value > (size_t)(end - at))
            return NULL;
        field->bytes = at;
        field->size = (size_t)field->value;
        return at + field->size;
    default:
        return NULL;
    }
}

static inline uint32_t frame_size(const uint8_t *header) {
    uint32_t size; /* of a little-endian machine, as all that run this are */
    memcpy(&size, header, HEADER_BYTES);
    return size;
}

/* One frame around `message[0..size)`; returns its whole size. */
static inline size_t put_frame(uint8_t *frame, const uint8_t *message, size_t size) {
    uint32_t length = (uint32_t)size;
    memcpy(frame, &length, HEADER_BYTES);
    memcpy(frame + HEADER_BYTES, message, size);
    return HEADER_BYTES + size;
}

/* ---- a histogram as HdrHistogram has it: 128 steps per power of two, below 0.8 % wrong ------ */

#define STEPS 128
#define POWERS 34 /* up to 2^41 ns, half an hour */

struct histogram {
    uint64_t counts[POWERS * STEPS];
    uint64_t total;
    uint64_t max;
};

static inline void record(struct histogram *h, uint64_t value) {
    int power = value < 2 * STEPS ? 0 : 63 - __builtin_clzll(value) - 7;
    size_t place = (size_t)power * STEPS + (size_t)(value >> power);
    if (place >= POWERS * STEPS)
        place = POWERS * STEPS - 1;
    h->counts[place]++;
    h->total++;
    if (value > h->max)
        h->max = value;
}

/* The value that a share of all does not exceed; the middle of its step. */
static inline double percentile(const struct histogram *h, double share) {
    uint64_t wanted = (uint64_t)(share * (double)h->total + 0.5), seen = 0;
    if (!wanted)
        wanted = 1;
    for (size_t place = 0; place < POWERS * STEPS; place++) {
        seen += h->counts[place];
        if (seen < wanted)
            continue;
        size_t power = place < 2 * STEPS ? 0 : place / STEPS - 1;
        double low = (double)((uint64_t)(place - power * STEPS) << power);
        double high = low + (double)(1ull << power);
        double middle = power ? (low + high) / 2 : low;
        return middle < (double)h->max ? middle : (double)h->max;
    }
    return 0;
}

#endif
