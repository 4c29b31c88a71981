/* Faults of a file system, for programs that know nothing of it (LD_PRELOAD): a kill at the n-th change, or no room left.
 *
 *   FAULTS_UNDER  changes of what lies under this path are counted
 *   FAULTS_KILL   the n-th of them is the last: a write gets as far as its half, and the process is killed
 *   FAULTS_FULL   from the n-th on, whatever needs room fails with ENOSPC
 *   FAULTS_SHM    so many bytes are all that /dev/shm has for the segments of one server
 *
 * A process that forks many arms itself: faults_arm(kill, full), and faults_count() says how many there were.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *under;
static long kill_at, full_at, counted, shm_bytes;

__attribute__((constructor)) static void read_environment(void) {
    const char *text;
    under = getenv("FAULTS_UNDER");
    if ((text = getenv("FAULTS_KILL"))) kill_at = atol(text);
    if ((text = getenv("FAULTS_FULL"))) full_at = atol(text);
    if ((text = getenv("FAULTS_SHM"))) shm_bytes = atol(text);
}

void faults_arm(long kill_number, long full_number) { counted = 0; kill_at = kill_number; full_at = full_number; }
long faults_count(void) { return counted; }

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int below(const char *path) { return under && !strncmp(path, under, strlen(under)); }

static int concerns(int folder, const char *path) {
    char whole[2 * PATH_MAX];
    if (!under || !path) return 0;
    if (path[0] == '/') return below(path);
    if (folder == AT_FDCWD ? !getcwd(whole, PATH_MAX) : !path_of(folder, whole)) return 0;
    strcat(strcat(whole, "/"), path);
    return below(whole);
}

static int concerns_fd(int fd) {
    char path[PATH_MAX];
    return under && path_of(fd, path) && below(path);
}

/* One change: 1 where it fails for want of room. */
static int change(int needs_room) {
    counted++;
    if (kill_at && counted == kill_at) kill(getpid(), SIGKILL);
    if (full_at && counted >= full_at && needs_room) { errno = ENOSPC; return 1; }
    return 0;
}

#define WRITES(name, arguments, call, fd, half)                                   \
    ssize_t name arguments {                                                      \
        if (concerns_fd(fd)) {                                                    \
            if (kill_at && counted + 1 == kill_at && size > 1) (void)!REAL(name) half; \
            if (change(1)) return -1;                                             \
        }                                                                         \
        return REAL(name) call;                                                   \
    }
WRITES(write, (int fd, const void *data, size_t size), (fd, data, size), fd, (fd, data, size / 2))
WRITES(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), fd, (fd, data, size / 2, at))
WRITES(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), fd, (fd, data, size / 2, at))

#define OPENS(name)                                                               \
    int name(const char *path, int flags, ...) {                                  \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        if (flags & (O_CREAT | O_TRUNC) && concerns(AT_FDCWD, path) && change(1)) return -1; \
        return REAL(name)(path, flags, mode);                                     \
    }
OPENS(open)
OPENS(open64)
#define OPENS_AT(name)                                                            \
    int name(int folder, const char *path, int flags, ...) {                      \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        if (flags & (O_CREAT | O_TRUNC) && concerns(folder, path) && change(1)) return -1; \
        return REAL(name)(folder, path, flags, mode);                             \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

#define CHANGES(name, arguments, call, folder, path, needs_room)                  \
    int name arguments {                                                          \
        if (concerns(folder, path) && change(needs_room)) return -1;              \
        return REAL(name) call;                                                   \
    }
CHANGES(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path, 1)
CHANGES(mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), at, path, 1)
CHANGES(link, (const char *from, const char *to), (from, to), AT_FDCWD, to, 1)
CHANGES(linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), b, to, 1)
CHANGES(symlink, (const char *from, const char *to), (from, to), AT_FDCWD, to, 1)
CHANGES(symlinkat, (const char *from, int at, const char *to), (from, at, to), at, to, 1)
CHANGES(unlink, (const char *path), (path), AT_FDCWD, path, 0)
CHANGES(unlinkat, (int at, const char *path, int flags), (at, path, flags), at, path, 0)
CHANGES(rmdir, (const char *path), (path), AT_FDCWD, path, 0)
CHANGES(rename, (const char *from, const char *to), (from, to), AT_FDCWD, to, 0)
CHANGES(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), b, to, 0)
CHANGES(renameat2, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags), b, to, 0)

int fsync(int fd) {
    if (concerns_fd(fd) && change(0)) return -1;
    return REAL(fsync)(fd);
}

/* Bytes of the segments of the server that this one belongs to: boxwise-PORT-TOKEN- and a name of its own. */
static long held_beside(const char *segment) {
    struct stat other;
    const char *end = segment;
    for (int dash = 0; dash < 3 && end; dash++) end = strchr(end, '-') ? strchr(end, '-') + 1 : 0;
    long held = 0;
    DIR *folder = end ? opendir("/dev/shm") : 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (!strncmp(entry->d_name, segment, end - segment) && !fstatat(dirfd(folder), entry->d_name, &other, 0))
            held += other.st_size;
    if (folder) closedir(folder);
    return held;
}

/* Whether `size` bytes of this segment are more than /dev/shm has for its server. */
static int too_large(int fd, off_t size) {
    char path[PATH_MAX];
    struct stat own;
    if (!shm_bytes || !path_of(fd, path) || strncmp(path, "/dev/shm/boxwise-", 17) || fstat(fd, &own)) return 0;
    return size > own.st_size && held_beside(path + strlen("/dev/shm/")) + size - own.st_size > shm_bytes;
}

/* What /dev/shm has left, for a stage that asks: the name of its segment is among its arguments. */
static void take_held(struct statvfs *found) {
    char arguments[PATH_MAX] = {0}, *argument = arguments;
    int fd = REAL(open)("/proc/self/cmdline", O_RDONLY);
    ssize_t length = read(fd, arguments, sizeof arguments - 1);
    close(fd);
    while (argument < arguments + length && strncmp(argument, "boxwise-", 8)) argument += strlen(argument) + 1;
    long left = shm_bytes - held_beside(argument);
    found->f_bavail = left > 0 ? left / found->f_frsize : 0;
}

#define ROOM(name)                                                                \
    int name(const char *path, struct name *found) {                              \
        int failed = REAL(name)(path, found);                                     \
        if (!failed && shm_bytes && !strcmp(path, "/dev/shm")) take_held((struct statvfs *)found); \
        return failed;                                                            \
    }
ROOM(statvfs)
ROOM(statvfs64)  /* the same struct where a long has 64 bits */

int posix_fallocate(int fd, off_t at, off_t size) {
    return too_large(fd, at + size) ? ENOSPC : REAL(posix_fallocate)(fd, at, size);
}

int ftruncate(int fd, off_t size) {
    if (too_large(fd, size)) { errno = ENOSPC; return -1; }
    return REAL(ftruncate)(fd, size);
}
