/* One virtual device as the generator holds it, and the frames that it sends. */
#ifndef DEVICE_H
#define DEVICE_H

#include "fleet.h"

#define FRAME_BYTES 120 /* of a status, with its header and the device in it */
#define ROLE_BYTES 7    /* "d000042" */
#define NUMBER_DIGITS 10

enum state {
    AWAY,       /* no connection; in the queue of those that want one, or has left */
    OPENING,    /* TCP handshake */
    INTRODUCED, /* its connect message is not answered yet */
    READY,      /* nothing outstanding */
    WAITING     /* its status is not answered yet */
};

struct device {
    int fd;
    uint8_t state;
    uint8_t is_rubbish; /* breaks the protocol whenever it can */
    uint8_t is_queued;
    uint32_t sent;      /* statuses; the number in the last one that differed */
    uint64_t asked_ns;  /* when its connection, connect or status began or was due */
    uint64_t owed_ns;   /* open loop: a status fell due while another was outstanding; else 0 */
    uint8_t *rest;      /* the beginning of an answer whose end has not come */
    size_t rest_size;
    uint8_t *flag, *digits; /* in `frame`: "true " or "false", and the number */
    uint8_t frame[FRAME_BYTES];
};

/* The fields of the identity: module, type 0, role and the role as name. */
static inline size_t put_device(uint8_t *at, uint32_t module, const char *role) {
    uint8_t *begin = at;
    *at++ = VARINT_FIELD(1);
    at = put_varint(at, module);
    at = put_bytes(at, BYTES_FIELD(3), role, ROLE_BYTES);
    return (size_t)(put_bytes(at, BYTES_FIELD(4), role, ROLE_BYTES) - begin);
}

/* {1: {1: device}} */
static inline size_t put_connect(uint8_t *frame, uint32_t module, const char *role) {
    uint8_t device[64], inner[80], body[96];
    size_t size = put_device(device, module, role);
    size = (size_t)(put_bytes(inner, BYTES_FIELD(1), device, size) - inner);
    size = (size_t)(put_bytes(body, BYTES_FIELD(1), inner, size) - body);
    return put_frame(frame, body, size);
}

/* {2: {1: device, 2: status}}, the status a JSON object padded to fill FRAME_BYTES. */
static inline void make_status(struct device *d, uint32_t module, const char *role) {
    uint8_t device[64];
    size_t size = put_device(device, module, role);
    size_t inner = FRAME_BYTES - HEADER_BYTES - 2, status = inner - (size + 2) - 2;
    uint8_t *at = d->frame + HEADER_BYTES;
    uint32_t length = FRAME_BYTES - HEADER_BYTES;
    memcpy(d->frame, &length, HEADER_BYTES);
    *at++ = BYTES_FIELD(2);
    *at++ = (uint8_t)inner;
    at = put_bytes(at, BYTES_FIELD(1), device, size);
    *at++ = BYTES_FIELD(2);
    *at++ = (uint8_t)status;
    char text[FRAME_BYTES];
    int used = snprintf(text, sizeof text, "{\"pressed\": true , \"n\": %*u, \"salt\": \"",
                        NUMBER_DIGITS, d->sent);
    memset(text + used, 'x', status - (size_t)used);
    memcpy(text + status - 2, "\"}", 2);
    memcpy(at, text, status);
    d->flag = at + strlen("{\"pressed\": ");
    d->digits = at + strlen("{\"pressed\": true , \"n\": ");
}

/* Another status than the last: the next number, and the button the other way round. */
static inline void change_status(struct device *d) {
    uint32_t number = ++d->sent;
    memcpy(d->flag, number & 1 ? "false" : "true ", 5);
    for (uint8_t *digit = d->digits + NUMBER_DIGITS; number; number /= 10)
        *--digit = (uint8_t)('0' + number % 10);
}

/* What no gateway should accept: a status that no module takes, bytes that are no message, a frame
 * of 4 GiB. In turn. */
static inline size_t put_rubbish(struct device *d, uint8_t *frame) {
    memcpy(frame, d->frame, FRAME_BYTES);
    switch (d->sent++ % 3) {
    case 0:
        memset(frame + (d->flag - d->frame), 0xff, 16);
        break;
    case 1:
        memset(frame + HEADER_BYTES, 0xff, FRAME_BYTES - HEADER_BYTES);
        break;
    default:
        memset(frame, 0xff, FRAME_BYTES);
    }
    return FRAME_BYTES;
}

/* Whether `message` is {2: {1: device, ...}} with this very device. */
static inline int is_own_command(const struct device *d, const uint8_t *message, size_t size) {
    const uint8_t *own = d->frame + HEADER_BYTES + 2;
    size_t device_size = 2 + (size_t)own[1];
    size_t skip = size > 2 && message[1] & 128 ? 3 : 2;
    return size >= skip + device_size && message[0] == BYTES_FIELD(2) &&
           !memcmp(message + skip, own, device_size);
}

/* Whether `message` is {1: {2: device}}: a response of type OK, which takes no bytes. */
static inline int is_welcome(const uint8_t *message, size_t size) {
    return size > 2 && message[0] == BYTES_FIELD(1) && message[2] == BYTES_FIELD(2);
}

#endif
