/* A file layer that remembers what a power cut would take back.
 *
 * Preloaded into a process (LD_PRELOAD), it writes down each write to a file whose path contains
 * UNSYNCED_MATCH: old and new bytes, old size; and each successful sync of such a file. The log lies
 * beside the file, as `unsynced.log`; `tests/chaos/power_cut.py` reads it when the process is dead.
 * UNSYNCED_DELAY_US: how long a sync takes at least. UNSYNCED_FAIL=write|sync:N:M:ERRNO lets the
 * calls N to N+M-1 fail.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 3 };

struct record { /* followed by old_length bytes of before and length bytes of after */
    uint64_t kind, inode, offset, length, old_size, old_length;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char log_path[4096];
static int log_fd = -1;
static long calls[4];

static const char *match(void) { return getenv("UNSYNCED_MATCH"); }

static int is_ours(int fd, char *path, size_t size, struct stat *about) {
    char link[64];
    const char *wanted = match();
    ssize_t length;
    if (wanted == NULL || fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, size - 1);
    if (length <= 0 || path[0] != '/') return 0;
    path[length] = 0;
    if (strstr(path, wanted) == NULL || strstr(path, "-shm") != NULL) return 0;
    return fstat(fd, about) == 0 && S_ISREG(about->st_mode);
}

static void open_log(const char *path) {
    char wanted[4096];
    const char *end = strrchr(path, '/');
    snprintf(wanted, sizeof wanted, "%.*s/unsynced.log", (int)(end - path), path);
    if (log_fd >= 0 && strcmp(wanted, log_path) == 0) return;
    strcpy(log_path, wanted);
    log_fd = syscall(SYS_openat, AT_FDCWD, wanted, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void put(const void *bytes, size_t size) {
    if (log_fd >= 0 && size > 0 && syscall(SYS_write, log_fd, bytes, size) < 0) abort();
}

static int is_refused(int kind) {
    const char *wish = getenv("UNSYNCED_FAIL");
    char word[16];
    long first, times;
    int number;
    long call = ++calls[kind];
    if (wish == NULL || sscanf(wish, "%15[a-z]:%ld:%ld:%d", word, &first, &times, &number) != 4)
        return 0;
    if (kind != (strcmp(word, "sync") == 0 ? SYNC : WRITE)) return 0;
    if (call < first || call >= first + times) return 0;
    errno = number;
    return 1;
}

static ssize_t write_at(int fd, const void *bytes, size_t size, off_t offset, int is_at_end) {
    char path[4096];
    struct stat about;
    struct record record;
    char *old = NULL;
    ssize_t done;
    if (!is_ours(fd, path, sizeof path, &about))
        return is_at_end ? syscall(SYS_write, fd, bytes, size)
                         : syscall(SYS_pwrite64, fd, bytes, size, offset);
    pthread_mutex_lock(&lock);
    if (is_refused(WRITE)) {
        pthread_mutex_unlock(&lock);
        return -1;
    }
    if (is_at_end) offset = lseek(fd, 0, SEEK_CUR);
    old = malloc(size + 1);
    done = syscall(SYS_pread64, fd, old, size, offset);
    record = (struct record){WRITE, about.st_ino, offset, size, about.st_size, done > 0 ? done : 0};
    open_log(path);
    put(&record, sizeof record);
    put(old, record.old_length);
    put(bytes, size);
    free(old);
    done = is_at_end ? syscall(SYS_write, fd, bytes, size)
                     : syscall(SYS_pwrite64, fd, bytes, size, offset);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t size) { return write_at(fd, bytes, size, 0, 1); }
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    return write_at(fd, bytes, size, at, 0);
}
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    return write_at(fd, bytes, size, at, 0);
}

static int truncate_to(int fd, off_t size) {
    char path[4096];
    struct stat about;
    struct record record;
    char *old = NULL;
    int done;
    if (!is_ours(fd, path, sizeof path, &about)) return syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    record = (struct record){TRUNCATE, about.st_ino, size, 0, about.st_size, 0};
    if (size < about.st_size) {
        old = malloc(about.st_size - size);
        record.old_length = syscall(SYS_pread64, fd, old, about.st_size - size, size);
    }
    open_log(path);
    put(&record, sizeof record);
    put(old, record.old_length);
    free(old);
    done = syscall(SYS_ftruncate, fd, size);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t size) { return truncate_to(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncate_to(fd, size); }

static int sync_with(int fd, int number) {
    char path[4096];
    struct stat about;
    struct record record;
    const char *delay = getenv("UNSYNCED_DELAY_US");
    int done;
    if (!is_ours(fd, path, sizeof path, &about)) return syscall(number, fd);
    if (delay != NULL) usleep(atoi(delay));
    pthread_mutex_lock(&lock);
    if (is_refused(SYNC)) {
        pthread_mutex_unlock(&lock);
        return -1;
    }
    done = syscall(number, fd);
    if (done == 0) {
        record = (struct record){SYNC, about.st_ino, 0, 0, 0, 0};
        open_log(path);
        put(&record, sizeof record);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) { return sync_with(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_with(fd, SYS_fdatasync); }
