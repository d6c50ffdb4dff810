/* Virtual devices, as many as wanted and as cheap as possible, against any Fleet Protocol gateway.
 *
 *     load HOST PORT DEVICES [FIRST_NUMBER FIRST_MODULE MODULES]
 *
 * One thread, one epoll loop. Takes commands on standard input, words of the form key=value:
 *
 *     connect window=64 limit_s=60      all devices connect, so many at a time
 *     run seconds=3 warm_s=0.5          every device sends, one status outstanding each, ...
 *         rate=0                        0: closed loop; else open: so many statuses/s of all together
 *         different=0                   1: no status is like the one before
 *         rubbish=0 pause_ms=0          so many more devices that break the protocol, again and again
 *         leave_s=0                     one device closes its connection then and stays away
 *         watch=PID,PID                 whose CPU time is wanted
 *     storm devices=2000 limit_s=60     they lose their connections at once, come back at once
 *     quit
 *
 * Each command is answered with one line of JSON. Latency in an open loop counts from when a status
 * was due. A device whose connection ends comes back after 100 ms.
 */
#define _GNU_SOURCE
#include "engine.h"
#include "report.h"

static double argument(const char *key, double standard) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, " %s=", key);
    const char *at = strstr(line, wanted);
    return at ? atof(at + strlen(wanted)) : standard;
}

static int watched_pids(int *pids) {
    int count = 0;
    char *at = strstr(line, " watch=");
    for (at = at ? at + 7 : NULL; at && *at > ' ' && count < MAX_WATCHED; at += *at == ',')
        pids[count++] = (int)strtol(at, &at, 10);
    return count;
}

static void print_counts(void) {
    printf(", \"closed\": %llu, \"refused\": %llu, \"wrong\": %llu}\n", (unsigned long long)load.closed,
           (unsigned long long)load.refused, (unsigned long long)load.wrong);
    fflush(stdout);
}

static void forget_counts(void) {
    memset(&round_trips, 0, sizeof round_trips);
    memset(&connects, 0, sizeof connects);
    load.answered = load.sent = load.owed = load.skipped = load.wrong = load.refused = 0;
    load.closed = load.rubbish_sent = load.late_ns = load.late_until_ns = load.welcomed = 0;
}

static void command_connect(void) {
    uint64_t begin = now_ns(), end = begin + (uint64_t)(argument("limit_s", 60) * 1e9), now = begin;
    double cpu_s = own_cpu_s();
    forget_counts();
    queue.window = (uint32_t)argument("window", 64);
    for (uint32_t i = 0; i < healthy; i++)
        if (devices[i].state == AWAY)
            want_connection(&devices[i], begin);
    while ((queue.count || queue.opening) && (now = now_ns()) < end && !is_over)
        turn(end);
    printf("{\"connected\": %u, \"seconds\": %.6f, \"own_cpu_s\": %.6f", count_in(READY, healthy),
           (double)(now_ns() - begin) * 1e-9, own_cpu_s() - cpu_s);
    print_times("connect", &connects);
    print_counts();
}

static void change_load(void) {
    double rate = argument("rate", 0);
    load.is_different = argument("different", 0) != 0;
    load.rubbish = (uint32_t)argument("rubbish", 0);
    load.pause_ns = (uint64_t)(argument("pause_ms", 0) * 1e6);
    load.period_ns = rate > 0 ? (uint64_t)(1e9 / rate) : 0;
    load.due_ns = now_ns();
    load.is_running = 1;
    for (uint32_t i = 0; i < load.rubbish && i < MAX_RUBBISH; i++)
        want_connection(&devices[healthy + i], load.due_ns);
    for (uint32_t i = 0; i < healthy && !load.period_ns; i++)
        if (devices[i].state == READY)
            send_status(&devices[i], now_ns(), now_ns());
}

static void stop_load(void) {
    uint64_t end = now_ns() + 2 * SECOND;
    load.is_running = load.is_measuring = 0;
    load.period_ns = 0;
    load.rubbish = 0;
    for (uint32_t i = 0; i < MAX_RUBBISH; i++)
        disconnect(&devices[healthy + i]);
    while (count_in(WAITING, healthy) && now_ns() < end && !is_over)
        turn(now_ns() + 10 * MS);
}

static void command_run(void) {
    int pids[MAX_WATCHED], watched = watched_pids(pids);
    double before[MAX_WATCHED], after[MAX_WATCHED], seconds = argument("seconds", 3);
    double leave_s = argument("leave_s", 0);
    uint64_t warm_end = now_ns() + (uint64_t)(argument("warm_s", 0.5) * 1e9), slept = 0, left_ns = 0;
    change_load();
    while (now_ns() < warm_end && !is_over)
        turn(warm_end);
    forget_counts();
    load.is_measuring = 1;
    for (int i = 0; i < watched; i++)
        before[i] = cpu_of(pids[i]);
    double cpu_s = own_cpu_s();
    uint64_t begin = now_ns(), end = begin + (uint64_t)(seconds * 1e9), now;
    uint64_t leave_ns = leave_s > 0 ? begin + (uint64_t)(leave_s * 1e9) : NEVER;
    while ((now = now_ns()) < end && !is_over) {
        if (now >= leave_ns) {
            left_ns = now;
            leave_ns = NEVER;
            disconnect(&devices[0]);
        }
        slept += turn(leave_ns < end ? leave_ns : end);
    }
    for (int i = 0; i < watched; i++)
        after[i] = cpu_of(pids[i]);
    cpu_s = own_cpu_s() - cpu_s;
    double took_s = (double)(now - begin) * 1e-9;
    stop_load();
    printf("{\"answered\": %llu, \"seconds\": %.6f, \"per_s\": %.1f, \"own_cpu_s\": %.6f, \"busy_share\": %.4f",
           (unsigned long long)round_trips.total, took_s, (double)round_trips.total / took_s, cpu_s,
           1 - (double)slept * 1e-9 / took_s);
    printf(", \"late_share\": %.4f, \"owed\": %llu, \"skipped\": %llu, \"rubbish\": %llu",
           (double)load.late_ns * 1e-9 / took_s, (unsigned long long)load.owed,
           (unsigned long long)load.skipped, (unsigned long long)load.rubbish_sent);
    printf(", \"begin_ns\": %llu, \"end_ns\": %llu, \"left_ns\": %llu", (unsigned long long)begin,
           (unsigned long long)now, (unsigned long long)left_ns);
    printf(", \"watched_cpu_s\": {");
    for (int i = 0; i < watched; i++)
        printf("%s\"%d\": %.2f", i ? ", " : "", pids[i], after[i] - before[i]);
    printf("}");
    print_times("round_trip", &round_trips);
    print_times("connect", &connects);
    print_counts();
}

static void command_storm(void) {
    uint32_t many = (uint32_t)argument("devices", 2000);
    many = many < healthy ? many : healthy;
    forget_counts();
    queue.window = many;
    load.stormed = 0;
    load.storm_ns = now_ns();
    uint64_t end = load.storm_ns + (uint64_t)(argument("limit_s", 60) * 1e9);
    for (uint32_t i = 0; i < many; i++) {
        disconnect(&devices[i]);
        want_connection(&devices[i], load.storm_ns);
    }
    while (load.stormed < many && now_ns() < end && !is_over)
        turn(end);
    printf("{\"devices\": %u, \"served\": %llu, \"seconds\": %.6f", many,
           (unsigned long long)load.stormed, (double)(now_ns() - load.storm_ns) * 1e-9);
    load.storm_ns = 0;
    print_times("served", &round_trips);
    print_counts();
}

/* One command at a time: whoever sends the next one waits for the answer. */
static void obey(void) {
    if (!strchr(line, '\n'))
        return;
    line_size = 0;
    if (!strncmp(line, "connect", 7))
        command_connect();
    else if (!strncmp(line, "run", 3))
        command_run();
    else if (!strncmp(line, "storm", 5))
        command_storm();
    else
        is_over = 1;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "load HOST PORT DEVICES [FIRST_NUMBER FIRST_MODULE MODULES]\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1);
    gateway = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (!inet_pton(AF_INET, argv[1], &gateway.sin_addr))
        die("HOST must be an IPv4 address");
    healthy = (uint32_t)atoi(argv[3]);
    first_number = argc > 4 ? (uint32_t)atoi(argv[4]) : first_number;
    first_module = argc > 5 ? (uint32_t)atoi(argv[5]) : first_module;
    modules = argc > 6 ? (uint32_t)atoi(argv[6]) : modules;
    queue.room = healthy + MAX_RUBBISH;
    queue.window = 64;
    queue.device = calloc(queue.room, sizeof *queue.device);
    queue.at_ns = calloc(queue.room, sizeof *queue.at_ns);
    devices = calloc(queue.room, sizeof *devices);
    epoll = epoll_create1(0);
    for (uint32_t i = 0; i < queue.room; i++) {
        char role[32];
        devices[i].fd = -1;
        devices[i].is_rubbish = i >= healthy;
        role_of(&devices[i], role);
        make_status(&devices[i], first_module + i % modules, role);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = STDIN_KEY};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event))
        die("standard input must be a pipe");
    while (!is_over) {
        turn(NEVER);
        line[line_size] = 0;
        obey();
    }
    return 0;
}
