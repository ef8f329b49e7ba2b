/* Fails, or kills the process at, the n-th call that changes a file below a folder.

   Loaded with LD_PRELOAD. `fault_arm(folder, n, number)` counts the calls from then on that make, write, sync, close,
   rename or remove something below `folder`; the n-th returns the error `number` (KILL for 0: SIGKILL before the call,
   half of a write's bytes written). `fault_count()` is how many there were. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long wanted = -1, counted = 0;
static int failure = 0;
static char last[64];

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void fault_arm(const char *where, long n, int number) {
  strncpy(folder, where, sizeof folder - 1);
  wanted = n, failure = number, counted = 0;
}
long fault_count(void) { return counted; }
const char *fault_site(void) { return last; }

static int is_ours(const char *path) { return folder[0] && path && strncmp(path, folder, strlen(folder)) == 0; }

static int is_ours_open(int descriptor) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return is_ours(path);
}

/* 1 where the call must fail; does not return where it must be killed. */
static int strikes(const char *site, int descriptor, const void *bytes, size_t count) {
  counted++;
  if (counted != wanted) return 0;
  strncpy(last, site, sizeof last - 1);
  if (failure) { errno = failure; return 1; }
  if (bytes && count > 1) (void)!NEXT(write)(descriptor, bytes, count / 2);
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static int opens(const char *path, int flags) {
  return (flags & (O_WRONLY | O_RDWR | O_CREAT)) && is_ours(path) && strikes("open", -1, 0, 0);
}
#define OPEN(name)                                                  \
  int name(const char *path, int flags, ...) {                      \
    va_list rest; va_start(rest, flags);                            \
    mode_t mode = va_arg(rest, mode_t); va_end(rest);               \
    return opens(path, flags) ? -1 : NEXT(name)(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)
#define OPENAT(name)                                                        \
  int name(int at, const char *path, int flags, ...) {                      \
    va_list rest; va_start(rest, flags);                                    \
    mode_t mode = va_arg(rest, mode_t); va_end(rest);                       \
    return opens(path, flags) ? -1 : NEXT(name)(at, path, flags, mode);     \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int descriptor, const void *bytes, size_t count) {
  if (is_ours_open(descriptor) && strikes("write", descriptor, bytes, count)) return -1;
  return NEXT(write)(descriptor, bytes, count);
}
int fsync(int descriptor) {
  return is_ours_open(descriptor) && strikes("fsync", -1, 0, 0) ? -1 : NEXT(fsync)(descriptor);
}
int ftruncate(int descriptor, off_t length) {
  return is_ours_open(descriptor) && strikes("ftruncate", -1, 0, 0) ? -1 : NEXT(ftruncate)(descriptor, length);
}
int ftruncate64(int descriptor, off64_t length) {
  return is_ours_open(descriptor) && strikes("ftruncate", -1, 0, 0) ? -1 : NEXT(ftruncate64)(descriptor, length);
}
int close(int descriptor) {
  int strike = is_ours_open(descriptor) && strikes("close", -1, 0, 0), number = errno;
  int done = NEXT(close)(descriptor);
  if (strike) { errno = number; return -1; }
  return done;
}
int mkdir(const char *path, mode_t mode) {
  return is_ours(path) && strikes("mkdir", -1, 0, 0) ? -1 : NEXT(mkdir)(path, mode);
}
int mkdirat(int at, const char *path, mode_t mode) {
  return is_ours(path) && strikes("mkdir", -1, 0, 0) ? -1 : NEXT(mkdirat)(at, path, mode);
}
int chmod(const char *path, mode_t mode) {
  return is_ours(path) && strikes("chmod", -1, 0, 0) ? -1 : NEXT(chmod)(path, mode);
}
int fchmodat(int at, const char *path, mode_t mode, int flags) {
  return is_ours(path) && strikes("chmod", -1, 0, 0) ? -1 : NEXT(fchmodat)(at, path, mode, flags);
}
int rename(const char *one, const char *other) {
  return is_ours(other) && strikes("rename", -1, 0, 0) ? -1 : NEXT(rename)(one, other);
}
int renameat(int a, const char *one, int b, const char *other) {
  return is_ours(other) && strikes("rename", -1, 0, 0) ? -1 : NEXT(renameat)(a, one, b, other);
}
int renameat2(int a, const char *one, int b, const char *other, unsigned flags) {
  return is_ours(other) && strikes("exchange", -1, 0, 0) ? -1 : NEXT(renameat2)(a, one, b, other, flags);
}
int unlink(const char *path) {
  return is_ours(path) && strikes("unlink", -1, 0, 0) ? -1 : NEXT(unlink)(path);
}
int unlinkat(int at, const char *path, int flags) {
  return (is_ours(path) || (at != AT_FDCWD && is_ours_open(at))) && strikes("unlink", -1, 0, 0)
             ? -1 : NEXT(unlinkat)(at, path, flags);
}
int rmdir(const char *path) {
  return is_ours(path) && strikes("rmdir", -1, 0, 0) ? -1 : NEXT(rmdir)(path);
}
