/* As much of an MQTT 3.1.1 client as `upstream` needs: QoS 1 both ways, one write per turn. */
#ifndef MQTT_H
#define MQTT_H

#include "fleet.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_BYTES (4u << 20)
#define OUT_BYTES (16u << 20)

enum topic { FROM_GATEWAY, TO_GATEWAY, DISCONNECT, TOPICS };

static char topics[TOPICS][256];
static struct {
    int fd;
    uint16_t packet_id;
    uint8_t *in, *out;
    size_t in_size, out_size;
} broker = {.fd = -1};

static void name_topics(const char *company, const char *vehicle) {
    static const char *ends[] = {"module_gateway", "external_server", "external_server_disconnect"};
    for (int i = 0; i < TOPICS; i++)
        snprintf(topics[i], sizeof topics[i], "%.100s/%.100s/%s", company, vehicle, ends[i]);
}

static uint8_t *put_text(uint8_t *at, const char *text) {
    size_t size = strlen(text);
    *at++ = (uint8_t)(size >> 8);
    *at++ = (uint8_t)size;
    memcpy(at, text, size);
    return at + size;
}

static uint16_t next_packet_id(void) {
    if (!++broker.packet_id)
        ++broker.packet_id;
    return broker.packet_id;
}

/* Room for a packet of `size` bytes behind its fixed header; the caller fills it at once. */
static uint8_t *add_packet(uint8_t type, size_t size) {
    if (broker.out_size + size + 5 > OUT_BYTES)
        die("the broker does not read");
    uint8_t *at = broker.out + broker.out_size;
    *at++ = type;
    at = put_varint(at, size);
    broker.out_size = (size_t)(at - broker.out) + size;
    return at;
}

static void publish(enum topic topic, const uint8_t *message, size_t size) {
    uint8_t *at = add_packet(0x32, 2 + strlen(topics[topic]) + 2 + size);
    at = put_text(at, topics[topic]);
    uint16_t id = next_packet_id();
    *at++ = (uint8_t)(id >> 8);
    *at++ = (uint8_t)id;
    if (size)
        memcpy(at, message, size);
}

static void close_broker(void) {
    close(broker.fd);
    broker.fd = -1;
    broker.in_size = broker.out_size = 0;
}

/* Sends what has gathered, as much as the socket takes. */
static void send_packets(void) {
    if (broker.fd < 0 || !broker.out_size)
        return;
    ssize_t sent = send(broker.fd, broker.out, broker.out_size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) {
        close_broker();
        return;
    }
    if (sent > 0) {
        broker.out_size -= (size_t)sent;
        memmove(broker.out, broker.out + sent, broker.out_size);
    }
}

/* Connects and asks for the subscription; 0 when there is no broker. */
static int open_broker(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int yes = 1;
    if (!broker.in) {
        broker.in = malloc(IN_BYTES);
        broker.out = malloc(OUT_BYTES);
    }
    inet_pton(AF_INET, host, &address.sin_addr);
    broker.fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(broker.fd, (struct sockaddr *)&address, sizeof address)) {
        close_broker();
        return 0;
    }
    setsockopt(broker.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    uint8_t *at = put_text(add_packet(0x10, 10 + 2 + 8), "MQTT");
    memcpy(at, "\4\2\0\0", 4); /* level 4, clean session, no keep-alive */
    put_text(at + 4, "upstream");
    at = add_packet(0x82, 2 + 2 + strlen(topics[FROM_GATEWAY]) + 1);
    uint16_t id = next_packet_id();
    *at++ = (uint8_t)(id >> 8);
    *at++ = (uint8_t)id;
    *put_text(at, topics[FROM_GATEWAY]) = 1;
    send_packets();
    return 1;
}

/* One packet; 1 for the SUBACK. */
static int take_packet(uint8_t type, const uint8_t *at, size_t size,
                       void (*take_publish)(const uint8_t *, size_t)) {
    if ((type & 0xf0) == 0x90) {
        publish(DISCONNECT, NULL, 0); /* "I am here and know of no session" */
        return 1;
    }
    size_t topic_size = size >= 2 ? (size_t)at[0] << 8 | at[1] : 0, qos = type >> 1 & 3;
    size_t begin = 2 + topic_size + (qos ? 2 : 0);
    if ((type & 0xf0) != 0x30 || size < begin)
        return 0;
    if (qos)
        memcpy(add_packet(0x40, 2), at + begin - 2, 2);
    take_publish(at + begin, size - begin);
    return 0;
}

/* Reads once and takes every whole packet; 1 when the subscription was granted in it. */
static int receive_packets(void (*take_publish)(const uint8_t *, size_t)) {
    ssize_t got = recv(broker.fd, broker.in + broker.in_size, IN_BYTES - broker.in_size, MSG_DONTWAIT);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            close_broker();
        return 0;
    }
    broker.in_size += (size_t)got;
    const uint8_t *at = broker.in, *end = at + broker.in_size;
    int is_granted = 0;
    while (end - at >= 2) {
        uint64_t size;
        const uint8_t *body = get_varint(at + 1, end, &size);
        if (!body || size > (size_t)(end - body))
            break;
        is_granted |= take_packet(*at, body, (size_t)size, take_publish);
        at = body + size;
    }
    broker.in_size = (size_t)(end - at);
    memmove(broker.in, at, broker.in_size);
    return is_granted;
}

#endif
