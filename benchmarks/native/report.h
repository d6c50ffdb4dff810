/* What the programs of this folder say about themselves and about other processes. */
#ifndef REPORT_H
#define REPORT_H

#include "fleet.h"

#include <unistd.h>

/* utime + stime of a process, 0 when it is gone. */
static inline double cpu_of(int pid) {
    char path[64], text[1024];
    unsigned long user = 0, kernel = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = 0;
    fclose(file);
    char *at = strrchr(text, ')');
    if (!at || sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
        return 0;
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static inline void print_times(const char *name, const struct histogram *h) {
    printf(", \"%s_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f, \"count\": %llu}",
           name, percentile(h, .5) / 1e3, percentile(h, .9) / 1e3, percentile(h, .99) / 1e3,
           percentile(h, .999) / 1e3, (double)h->max / 1e3, (unsigned long long)h->total);
}

#endif
