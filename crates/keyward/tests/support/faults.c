// Makes the disk fail under a program that runs: preloaded (LD_PRELOAD), it stands between the program and
// the system where files below one folder are written, made longer, synced, or given another name.
//
// KEYWARD_FAULTS names the folder, a colon, and the control file. That file holds one line, read anew at
// each call, so that a fault comes and goes while the program runs:
//
//     OPERATION KIND FROM COUNT SUFFIX
//
// OPERATION  write, sync, link (giving a file a second name), all (writing, syncing, and opening files to
//            write), or any, which is these and giving names and taking them away
// KIND       an error: eio, enospc, erofs or eperm; hold, which takes until the line is changed; or lose, which fails a sync
//            and takes back everything that was written to the file since its last good one, as a system
//            does that gives up writing and forgets the pages; or kill, which ends the program with -9 before
//            the call is made, and tear, which does so once half of what is written is written
// FROM       the first call that fails, counted from 1 since the line was last changed
// COUNT      how many calls fail; 0 is all that follow
// SUFFIX     only files whose name ends so; * is all
//
// A file ending in .fired beside the control file gets a byte for each call that failed. Nothing here is
// linked into the program.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum operation { WRITE = 1, SYNC = 2, OPEN = 4, NAME = 8, LINK = 16 };

// What a file held before something was written to it, newest first.
struct undo {
    struct undo *next;
    dev_t device;
    ino_t inode;
    off_t offset;
    size_t length;
    char bytes[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[4096], control[4096], fired[4200], last_line[256];
static int is_ready;
static long n_calls;
static struct undo *undos;
static __thread int torn;

static void prepare(void) {
    if (is_ready) return;
    is_ready = 1;
    const char *setting = getenv("KEYWARD_FAULTS");
    const char *colon = setting ? strrchr(setting, ':') : NULL;
    if (!colon) return;
    snprintf(folder, sizeof folder, "%.*s", (int)(colon - setting), setting);
    snprintf(control, sizeof control, "%s", colon + 1);
    snprintf(fired, sizeof fired, "%s.fired", control);
}

static void read_control(char *line, size_t size) {
    line[0] = 0;
    long file = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) return;
    long n = syscall(SYS_read, file, line, size - 1);
    syscall(SYS_close, file);
    line[n > 0 ? n : 0] = 0;
}

static void note_fired(void) {
    long file = syscall(SYS_openat, AT_FDCWD, fired, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) return;
    syscall(SYS_write, file, "x", 1);
    syscall(SYS_close, file);
}

static int is_below(const char *path, const char *suffix) {
    size_t n = strlen(folder), length = strlen(path), end = strlen(suffix);
    if (n == 0 || strncmp(path, folder, n) != 0 || path[n] != '/') return 0;
    return strcmp(suffix, "*") == 0 ||
           (length >= end && strcmp(path + length - end, suffix) == 0);
}

static int path_of(int file, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, size - 1);
    path[n > 0 ? n : 0] = 0;
    return n > 0;
}

// Whether this call is to fail, and with which error; the lock is held. 0: it is not.
static int fault(enum operation operation, const char *path, int *is_lost, int *is_held, int *is_torn) {
    char line[256], what[16], kind[16], suffix[64];
    long from, count;
    read_control(line, sizeof line);
    if (strcmp(line, last_line) != 0) {
        memcpy(last_line, line, sizeof line);
        n_calls = 0;
    }
    if (sscanf(line, "%15s %15s %ld %ld %63s", what, kind, &from, &count, suffix) != 5) return 0;
    int wanted = strcmp(what, "write") == 0 ? WRITE : strcmp(what, "sync") == 0 ? SYNC : strcmp(what, "link") == 0 ? LINK
               : strcmp(what, "any") == 0 ? WRITE | SYNC | OPEN | NAME | LINK : WRITE | SYNC | OPEN;
    if (!(wanted & operation) || !is_below(path, suffix)) return 0;
    n_calls += 1;
    if (n_calls < from || (count > 0 && n_calls >= from + count)) return 0;
    note_fired();
    if (strcmp(kind, "hold") == 0) {
        *is_held = 1;
        return 0;
    }
    if (strcmp(kind, "lose") == 0) {
        *is_lost = 1;
        return EIO;
    }
    if (strcmp(kind, "tear") == 0 && operation == WRITE) {
        *is_torn = 1;
        return 0;
    }
    if (strcmp(kind, "kill") == 0 || strcmp(kind, "tear") == 0) kill(getpid(), SIGKILL);
    if (strcmp(kind, "eperm") == 0) return EPERM;
    return strcmp(kind, "enospc") == 0 ? ENOSPC : strcmp(kind, "erofs") == 0 ? EROFS : EIO;
}

static void remember(int file, off_t offset, size_t length) {
    struct stat whole;
    struct undo *undo = malloc(sizeof *undo + length);
    if (!undo || fstat(file, &whole) != 0) abort();
    memset(undo->bytes, 0, length);
    // Beyond the end it held nothing, and what was never written reads as zeros.
    syscall(SYS_pread64, file, undo->bytes, length, offset);
    undo->device = whole.st_dev;
    undo->inode = whole.st_ino;
    undo->offset = offset;
    undo->length = length;
    undo->next = undos;
    undos = undo;
}

// Forgets what a file held, or puts it back first.
static void settle(int file, int is_lost) {
    struct stat whole;
    if (fstat(file, &whole) != 0) return;
    for (struct undo **at = &undos; *at;) {
        struct undo *undo = *at;
        if (undo->device != whole.st_dev || undo->inode != whole.st_ino) {
            at = &undo->next;
            continue;
        }
        if (is_lost) syscall(SYS_pwrite64, file, undo->bytes, undo->length, undo->offset);
        *at = undo->next;
        free(undo);
    }
}

// 0: go on. Otherwise the call fails with this error.
static int before(enum operation operation, int file, const char *name, off_t offset, size_t *length) {
    char path[8192];
    int is_lost = 0, is_held = 0, is_torn = 0;
    int before = errno;
    pthread_mutex_lock(&lock);
    prepare();
    if (!folder[0]) {
        pthread_mutex_unlock(&lock);
        return 0;
    }
    if (name && (name[0] == '/' || file < 0)) {
        snprintf(path, sizeof path, "%s", name);
    } else if (name) {
        char folder_of[4096];
        path_of(file, folder_of, sizeof folder_of);
        snprintf(path, sizeof path, "%s/%s", folder_of, name);
    } else if (!path_of(file, path, sizeof path)) {
        path[0] = 0;
    }
    int error = fault(operation, path, &is_lost, &is_held, &is_torn);
    char line[256];
    read_control(line, sizeof line);
    if (operation == SYNC && (is_lost || !error)) settle(file, is_lost);
    if (operation == WRITE && !error && length && strstr(line, " lose ") && is_below(path, "*")) {
        remember(file, offset, *length);
    }
    if (is_torn && length) *length /= 2;
    if (is_torn && !length) kill(getpid(), SIGKILL);
    torn = is_torn;
    pthread_mutex_unlock(&lock);
    char held[256];
    memcpy(held, line, sizeof held);
    while (is_held && strcmp(line, held) == 0) {
        struct timespec pause = {0, 10 * 1000 * 1000};
        nanosleep(&pause, NULL);
        read_control(line, sizeof line);
    }
    errno = before;
    return error;
}

// What a call that was torn gives, if nobody ended the program.
static ssize_t written(ssize_t n) {
    if (torn) kill(getpid(), SIGKILL);
    return n;
}

static int failed(int error) {
    errno = error;
    return -1;
}

ssize_t write(int file, const void *bytes, size_t length) {
    int error = before(WRITE, file, NULL, lseek(file, 0, SEEK_CUR), &length);
    return error ? failed(error) : written(syscall(SYS_write, file, bytes, length));
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    int error = before(WRITE, file, NULL, offset, &length);
    return error ? failed(error) : written(syscall(SYS_pwrite64, file, bytes, length, offset));
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    return pwrite64(file, bytes, length, offset);
}

int ftruncate64(int file, off64_t length) {
    int error = before(WRITE, file, NULL, 0, NULL);
    return error ? failed(error) : syscall(SYS_ftruncate, file, length);
}

int ftruncate(int file, off_t length) {
    return ftruncate64(file, length);
}

int fsync(int file) {
    int error = before(SYNC, file, NULL, 0, NULL);
    return error ? failed(error) : syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    int error = before(SYNC, file, NULL, 0, NULL);
    return error ? failed(error) : syscall(SYS_fdatasync, file);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    int error = (flags & O_ACCMODE) == O_RDONLY ? 0 : before(OPEN, -1, path, 0, NULL);
    return error ? failed(error) : syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open64(path, flags, mode);
}

int rename(const char *from, const char *to) {
    int error = before(NAME, -1, to, 0, NULL);
    return error ? failed(error) : syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int folder_from, const char *from, int folder_to, const char *to, int flags) {
    int error = before(LINK, folder_to, to, 0, NULL);
    return error ? failed(error) : syscall(SYS_linkat, folder_from, from, folder_to, to, flags);
}

int link(const char *from, const char *to) {
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int folder_of, const char *path, int flags) {
    int error = before(NAME, folder_of, path, 0, NULL);
    return error ? failed(error) : syscall(SYS_unlinkat, folder_of, path, flags);
}

int unlink(const char *path) {
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path) {
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdir(const char *path, mode_t mode) {
    int error = before(NAME, -1, path, 0, NULL);
    return error ? failed(error) : syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}
