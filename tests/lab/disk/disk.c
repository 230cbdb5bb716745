/* Preloaded on a lab host: a disk below our directories that is full, or broken, from one write to another.
 *
 * Only root's runs of our program are touched, the worker and its gate, and only what changes files below
 * /var/lib/linux_patch_api and /run/linux_patch_api. Each such call is a record of RECORD bytes in TRACE; its
 * number decides. PLAN holds "FIRST LAST ERROR"; without it nothing fails. What fails is in REFUSED, too. Calls
 * that are made without the C library (renameat2, syncfs) are not seen here.
 *
 * How often a file is read depends on the time things take. So what reads files that are there is in READS, is
 * not counted, and fails once: READ_PLAN holds "CALL DIRECTORY SUFFIX ERROR", and is removed by who is refused. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define PLAN "/run/lab-disk/plan"
#define TRACE "/run/lab-disk/trace"
#define REFUSED "/run/lab-disk/refused"
#define READS "/run/lab-disk/reads"
#define READ_PLAN "/run/lab-disk/read-plan"
#define PROGRESS "/run/linux_patch_api/progress"
#define RECORD 160
#define NEXT(name) __typeof__(name) *next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int is_ours(void)
{
    static int known = -1;
    char exe[256];
    if (known < 0) {
        ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
        exe[length < 0 ? 0 : length] = 0;
        known = geteuid() == 0 &&
                (!strncmp(exe, "/usr/bin/patchctl", 17) || !strncmp(exe, "/var/lib/linux_patch_api/gate", 29));
    }
    return known;
}

static int is_of_us(const char *path)
{
    return is_ours() && path &&
           (!strncmp(path, "/var/lib/linux_patch_api/", 25) || !strncmp(path, "/run/linux_patch_api/", 21));
}

static void describe(char *line, const char *call, const char *path)
{
    snprintf(line, RECORD + 1, "%-9s %s", call, path);
    memset(line + strlen(line), ' ', RECORD - strlen(line));
    line[RECORD - 1] = '\n';
}

static void add_to(const char *list, const char *line)
{
    int file = syscall(SYS_openat, AT_FDCWD, list, O_WRONLY | O_APPEND | O_CLOEXEC, 0);

    if (file >= 0) {
        syscall(SYS_write, file, line, RECORD);
        syscall(SYS_close, file);
    }
}

static void read_plan(const char *from, char *plan, size_t size)
{
    int file = syscall(SYS_openat, AT_FDCWD, from, O_RDONLY | O_CLOEXEC, 0);

    if (file >= 0) {
        syscall(SYS_read, file, plan, size - 1);
        syscall(SYS_close, file);
    }
}

/* The error that this reading call ends with; 0 when it is let through. */
static int verdict_on_read(const char *call, const char *path)
{
    char line[RECORD + 1], plan[256] = "", planned[16], directory[128], suffix[64];
    size_t length;
    int error, saved = errno;

    if (!is_of_us(path) || !strncmp(path, PROGRESS, sizeof PROGRESS - 1))
        return 0;
    describe(line, call, path);
    add_to(READS, line);
    read_plan(READ_PLAN, plan, sizeof plan);
    errno = saved;
    length = strlen(path);
    if (sscanf(plan, "%15s %127s %63s %d", planned, directory, suffix, &error) != 4 || strcmp(call, planned) ||
        strncmp(path, directory, strlen(directory)) || length < strlen(suffix) ||
        strcmp(path + length - strlen(suffix), suffix) || syscall(SYS_unlinkat, AT_FDCWD, READ_PLAN, 0))
        return 0;
    add_to(REFUSED, line);
    return error;
}

/* The error that this writing call ends with; 0 when it is let through. */
static int verdict(const char *call, const char *path)
{
    char line[RECORD + 1], plan[64] = "";
    unsigned long first, last, number;
    int error, file, is_progress, saved = errno;

    if (!is_of_us(path))
        return 0;
    file = syscall(SYS_openat, AT_FDCWD, TRACE, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
    if (file < 0)
        return 0;
    describe(line, call, path);
    /* how often progress is told depends on the time it takes: it goes with the next write, and is not counted */
    is_progress = !strncmp(path, PROGRESS, sizeof PROGRESS - 1);
    if (!is_progress)
        syscall(SYS_write, file, line, RECORD);
    number = syscall(SYS_lseek, file, 0, is_progress ? SEEK_END : SEEK_CUR) / RECORD + is_progress;
    syscall(SYS_close, file);
    read_plan(PLAN, plan, sizeof plan);
    errno = saved;
    if (sscanf(plan, "%lu %lu %d", &first, &last, &error) != 3 || number < first || number > last)
        return 0;
    /* whoever has no room may still take away, and what is on the disk is on the disk */
    if ((error == ENOSPC || error == EDQUOT) && (!strncmp(call, "unlink", 6) || !strncmp(call, "fsync", 5)))
        return 0;
    add_to(REFUSED, line);
    return error;
}

/* What is there already takes no room, and is not counted. */
static int is_there(const char *path)
{
    int saved = errno, there = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;

    errno = saved;
    return there;
}

static int verdict_of(int (*verdict)(const char *, const char *), const char *call, int file)
{
    char link[32], path[512];
    ssize_t length;
    int saved = errno;

    if (!is_ours())
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    errno = saved;
    path[length < 0 ? 0 : length] = 0;
    return verdict(call, path);
}

#define REFUSE(error) do { int refused = (error); if (refused) { errno = refused; return -1; } } while (0)

ssize_t read(int file, void *bytes, size_t count)
{
    NEXT(read);
    REFUSE(verdict_of(verdict_on_read, "read", file));
    return next(file, bytes, count);
}

ssize_t write(int file, const void *bytes, size_t count)
{
    NEXT(write);
    REFUSE(verdict_of(verdict, "write", file));
    return next(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    NEXT(writev);
    REFUSE(verdict_of(verdict, "write", file));
    return next(file, parts, count);
}

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t count, unsigned flags)
{
    NEXT(copy_file_range);
    REFUSE(verdict_of(verdict, "write", to));
    return next(from, at, to, there, count, flags);
}

int fsync(int file)
{
    NEXT(fsync);
    REFUSE(verdict_of(verdict, "fsync", file));
    return next(file);
}

int rename(const char *from, const char *to)
{
    NEXT(rename);
    REFUSE(verdict("rename", to));
    return next(from, to);
}

int unlink(const char *path)
{
    NEXT(unlink);
    REFUSE(verdict("unlink", path));
    return next(path);
}

int mkdir(const char *path, mode_t mode)
{
    NEXT(mkdir);
    if (!is_there(path))
        REFUSE(verdict("mkdir", path));
    return next(path, mode);
}

int linkat(int from, const char *source, int to, const char *path, int flags)
{
    NEXT(linkat);
    REFUSE(verdict("link", path));
    return next(from, source, to, path, flags);
}

int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    NEXT(open64);
    if (flags & O_CREAT) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
        if (!is_there(path))
            REFUSE(verdict("create", path));
    } else if ((flags & (O_ACCMODE | O_DIRECTORY | O_PATH)) == O_RDONLY && is_there(path)) {
        REFUSE(verdict_on_read("open", path));
    }
    return next(path, flags, mode);
}
