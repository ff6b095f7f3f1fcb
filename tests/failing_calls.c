/* Lets chosen system calls fail, as disks, shares and cluster file systems do (LD_PRELOAD).

   FAIL="CALL:PATH:ERRNO:AFTER;..." - CALL fails with ERRNO for every path that contains PATH, after
   AFTER calls that succeed; a negative ERRNO kills the process with that signal instead. Calls:
   open, opendir, readdir, read, write, rename, unlink, truncate, flock, lock (fcntl), fsync,
   fsync_folder; "change" is any of write, rename, unlink, truncate and fsync. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAX_RULES = 8 };
static int counts[MAX_RULES];

static int matches(const char *name, const char *call) {
    if (strcmp(name, "change") != 0) return strcmp(name, call) == 0;
    const char *changes[] = {"write", "rename", "unlink", "truncate", "fsync", "fsync_folder"};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; ++i) {
        if (strcmp(changes[i], call) == 0) return 1;
    }
    return 0;
}

static int failure(const char *call, const char *path) {
    const char *rules = getenv("FAIL");
    for (int i = 0; rules != NULL && *rules != 0 && i < MAX_RULES; ++i) {
        char name[32], part[512];
        int code, after;
        if (sscanf(rules, "%31[^:]:%511[^:]:%d:%d", name, part, &code, &after) == 4 &&
            matches(name, call) && path != NULL && strstr(path, part) != NULL &&
            __sync_fetch_and_add(&counts[i], 1) >= after) {
            if (code < 0) kill(getpid(), -code);
            return errno = code;
        }
        const char *next = strchr(rules, ';');
        rules = next == NULL ? NULL : next + 1;
    }
    return 0;
}

static int failure_fd(const char *call, int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    return failure(call, path);
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...) {                                \
        mode_t mode = 0;                                                        \
        if (flags & (O_CREAT | O_TMPFILE)) {                                    \
            va_list rest;                                                       \
            va_start(rest, flags);                                              \
            mode = va_arg(rest, mode_t);                                        \
            va_end(rest);                                                       \
        }                                                                       \
        if (failure("open", path)) return -1;                                   \
        return REAL(int, #name, const char *, int, mode_t)(path, flags, mode);  \
    }
OPEN(open)
OPEN(open64)

DIR *opendir(const char *path) {
    if (failure("opendir", path)) return NULL;
    return REAL(DIR *, "opendir", const char *)(path);
}

#define READDIR(name, entry)                                     \
    struct entry *name(DIR *folder) {                            \
        if (failure_fd("readdir", dirfd(folder))) return NULL;   \
        return REAL(struct entry *, #name, DIR *)(folder);       \
    }
READDIR(readdir, dirent)
READDIR(readdir64, dirent64)

#define READ(name)                                                                         \
    ssize_t name(int fd, void *out, size_t size, off_t offset) {                           \
        if (failure_fd("read", fd)) return -1;                                             \
        return REAL(ssize_t, #name, int, void *, size_t, off_t)(fd, out, size, offset);    \
    }
READ(pread)
READ(pread64)

ssize_t read(int fd, void *out, size_t size) {
    if (failure_fd("read", fd)) return -1;
    return REAL(ssize_t, "read", int, void *, size_t)(fd, out, size);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (failure_fd("write", fd)) return -1;
    return REAL(ssize_t, "write", int, const void *, size_t)(fd, data, size);
}

#define PWRITE(name)                                                                          \
    ssize_t name(int fd, const void *data, size_t size, off_t offset) {                       \
        if (failure_fd("write", fd)) return -1;                                               \
        return REAL(ssize_t, #name, int, const void *, size_t, off_t)(fd, data, size, offset); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define TRUNCATE(name)                                    \
    int name(int fd, off_t size) {                        \
        if (failure_fd("truncate", fd)) return -1;        \
        return REAL(int, #name, int, off_t)(fd, size);    \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

int unlink(const char *path) {
    if (failure("unlink", path)) return -1;
    return REAL(int, "unlink", const char *)(path);
}

int fdatasync(int fd) {
    if (failure_fd("fsync", fd)) return -1;
    return REAL(int, "fdatasync", int)(fd);
}

int rename(const char *from, const char *to) {
    if (failure("rename", to)) return -1;
    return REAL(int, "rename", const char *, const char *)(from, to);
}

int flock(int fd, int operation) {
    if (failure_fd("flock", fd)) return -1;
    return REAL(int, "flock", int, int)(fd, operation);
}

#define FCNTL(name)                                                                        \
    int name(int fd, int command, ...) {                                                   \
        va_list rest;                                                                      \
        va_start(rest, command);                                                           \
        void *argument = va_arg(rest, void *);                                             \
        va_end(rest);                                                                      \
        const int lock = command == F_SETLK || command == F_SETLKW || command == F_GETLK; \
        if (lock && failure_fd("lock", fd)) return -1;                                     \
        return REAL(int, #name, int, int, void *)(fd, command, argument);                  \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

int fsync(int fd) {
    struct stat status;
    const int folder = fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
    if (failure_fd(folder ? "fsync_folder" : "fsync", fd)) return -1;
    return REAL(int, "fsync", int)(fd);
}
