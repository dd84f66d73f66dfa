#include "base/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct disk_file {
    int fd;
    /** The descriptor was opened so that a write alone is durable (O_DIRECT and O_DSYNC). Where the
     *  file system has no O_DIRECT (tmpfs), each write is followed by fdatasync. */
    bool write_is_durable;
    bool durable;
    char name[64];
};

static enum disk_status status_from_errno(int error_number) {
    switch (error_number) {
    case ENOENT:
        return DISK_NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
        return DISK_FULL;
    default:
        return DISK_FAILED;
    }
}

static enum disk_status fail(int error_number, const char *what, const char *name,
                             struct fault *fault) {
    fault_set_errno(fault, error_number, "%s: cannot %s", name, what);
    return status_from_errno(error_number);
}

/** Makes a file that is written past the page cache, where the file system can do that. */
static int create_blocks(int directory_fd, const char *name) {
    int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
    int fd = openat(directory_fd, name, flags | O_DIRECT, 0640);
    if (fd < 0 && errno == EINVAL) {
        /* Linux makes the file before it finds that it cannot open it so. */
        (void)unlinkat(directory_fd, name, 0);
        fd = openat(directory_fd, name, flags, 0640);
    }
    return fd;
}

static int open_durable(int directory_fd, const char *name, bool *write_is_durable) {
    int fd = openat(directory_fd, name, O_RDWR | O_CLOEXEC | O_DIRECT | O_DSYNC);
    *write_is_durable = fd >= 0;
    if (fd < 0 && errno == EINVAL) {
        fd = openat(directory_fd, name, O_RDWR | O_CLOEXEC);
    }
    return fd;
}

static enum disk_status posix_open(struct disk *disk, const char *name, enum disk_open_mode mode,
                                   struct disk_file **file, struct fault *fault) {
    struct disk_posix *posix = (struct disk_posix *)disk;
    struct disk_file *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return fail(ENOMEM, "be opened", name, fault);
    }
    (void)snprintf(opened->name, sizeof(opened->name), "%s", name);
    switch (mode) {
    case DISK_READ:
        opened->fd = openat(posix->directory_fd, name, O_RDONLY | O_CLOEXEC);
        break;
    case DISK_CREATE:
        opened->fd = openat(posix->directory_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
        break;
    case DISK_CREATE_BLOCKS:
        opened->fd = create_blocks(posix->directory_fd, name);
        break;
    case DISK_WRITE_DURABLE:
        opened->durable = true;
        opened->fd = open_durable(posix->directory_fd, name, &opened->write_is_durable);
        break;
    }
    if (opened->fd < 0) {
        enum disk_status status = fail(errno, "be opened", name, fault);
        free(opened);
        return status;
    }
    *file = opened;
    return DISK_OK;
}

static void posix_close(struct disk *disk, struct disk_file *file) {
    (void)disk;
    (void)close(file->fd);
    free(file);
}

static enum disk_status posix_read(struct disk *disk, struct disk_file *file, void *into,
                                   size_t size, uint64_t offset, size_t *got, struct fault *fault) {
    (void)disk;
    *got = 0;
    while (*got < size) {
        ssize_t count = pread(file->fd, (char *)into + *got, size - *got, (off_t)(offset + *got));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return fail(errno, "be read", file->name, fault);
        }
        if (count == 0) {
            break;
        }
        *got += (size_t)count;
    }
    return DISK_OK;
}

/** Ends a write that failed after part of it: a file that ran out of room is as long as before. */
static enum disk_status fail_write(struct disk_file *file, int error_number, off_t size_before,
                                   struct fault *fault) {
    enum disk_status status = fail(error_number, "be written", file->name, fault);
    if (status == DISK_FULL && ftruncate(file->fd, size_before) != 0) {
        return DISK_FAILED;
    }
    return status;
}

static enum disk_status posix_write(struct disk *disk, struct disk_file *file, const void *from,
                                    size_t size, uint64_t offset, struct fault *fault) {
    (void)disk;
    struct stat before;
    if (fstat(file->fd, &before) != 0) {
        return fail(errno, "be examined", file->name, fault);
    }
    for (size_t done = 0; done < size;) {
        ssize_t count =
            pwrite(file->fd, (const char *)from + done, size - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return fail_write(file, count < 0 ? errno : EIO, before.st_size, fault);
        }
        done += (size_t)count;
    }
    if (file->durable && !file->write_is_durable && fdatasync(file->fd) != 0) {
        return fail(errno, "be synced", file->name, fault);
    }
    return DISK_OK;
}

static enum disk_status posix_sync(struct disk *disk, struct disk_file *file, struct fault *fault) {
    (void)disk;
    return fsync(file->fd) == 0 ? DISK_OK : fail(errno, "be synced", file->name, fault);
}

static enum disk_status posix_size(struct disk *disk, struct disk_file *file, uint64_t *size,
                                   struct fault *fault) {
    (void)disk;
    struct stat status;
    if (fstat(file->fd, &status) != 0) {
        return fail(errno, "be examined", file->name, fault);
    }
    *size = (uint64_t)status.st_size;
    return DISK_OK;
}

static enum disk_status posix_rename(struct disk *disk, const char *from, const char *to,
                                     struct fault *fault) {
    int directory_fd = ((struct disk_posix *)disk)->directory_fd;
    return renameat(directory_fd, from, directory_fd, to) == 0
               ? DISK_OK
               : fail(errno, "be renamed", from, fault);
}

static enum disk_status posix_remove(struct disk *disk, const char *name, struct fault *fault) {
    int directory_fd = ((struct disk_posix *)disk)->directory_fd;
    return unlinkat(directory_fd, name, 0) == 0 ? DISK_OK : fail(errno, "be removed", name, fault);
}

static enum disk_status posix_sync_directory(struct disk *disk, struct fault *fault) {
    struct disk_posix *posix = (struct disk_posix *)disk;
    return fsync(posix->directory_fd) == 0 ? DISK_OK : fail(errno, "be synced", posix->path, fault);
}

static enum disk_status posix_list(struct disk *disk, void (*visit)(void *, const char *),
                                   void *context, struct fault *fault) {
    struct disk_posix *posix = (struct disk_posix *)disk;
    int fd = openat(posix->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return fail(errno, "be listed", posix->path, fault);
    }
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_type != DT_DIR) {
            visit(context, entry->d_name);
        }
    }
    (void)closedir(directory);
    return DISK_OK;
}

static uint64_t posix_free_bytes(struct disk *disk) {
    struct statvfs status;
    if (fstatvfs(((struct disk_posix *)disk)->directory_fd, &status) != 0) {
        return 0;
    }
    return (uint64_t)status.f_bavail * status.f_frsize;
}

static const struct disk_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .size = posix_size,
    .rename = posix_rename,
    .remove = posix_remove,
    .sync_directory = posix_sync_directory,
    .list = posix_list,
    .free_bytes = posix_free_bytes,
};

static bool make_directories(const char *path) {
    char part[256] = {0}; /* also an empty path ends it twice */
    (void)snprintf(part, sizeof(part), "%s", path);
    for (char *at = part + 1; *at != 0; at++) {
        if (*at == '/') {
            *at = 0;
            if (mkdir(part, 0750) != 0 && errno != EEXIST) {
                return false;
            }
            *at = '/';
        }
    }
    return mkdir(part, 0750) == 0 || errno == EEXIST;
}

enum disk_status disk_posix_open_existing(struct disk_posix *posix, const char *path,
                                          struct fault *fault) {
    posix->disk.ops = &posix_ops;
    posix->lock_fd = -1;
    (void)snprintf(posix->path, sizeof(posix->path), "%s", path);
    posix->directory_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return posix->directory_fd >= 0 ? DISK_OK : fail(errno, "be opened", path, fault);
}

enum disk_status disk_posix_open(struct disk_posix *posix, const char *path, struct fault *fault) {
    if (strlen(path) >= sizeof(posix->path)) {
        fault_set(fault, "%.80s...: the path is too long", path);
        return DISK_FAILED;
    }
    if (!make_directories(path)) {
        return fail(errno, "be made", path, fault);
    }
    return disk_posix_open_existing(posix, path, fault);
}

static enum disk_status lock(struct disk_posix *posix, int flags, struct fault *fault) {
    posix->lock_fd = openat(posix->directory_fd, "lock", flags | O_CLOEXEC, 0640);
    if (posix->lock_fd < 0) {
        return fail(errno, "be opened", "lock", fault);
    }
    if (flock(posix->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        return DISK_OK;
    }
    bool busy = errno == EWOULDBLOCK;
    if (busy) {
        fault_set(fault, "%s: another process uses this data directory", posix->path);
    } else {
        fault_set_errno(fault, errno, "%s: cannot be locked", posix->path);
    }
    (void)close(posix->lock_fd);
    posix->lock_fd = -1;
    return busy ? DISK_BUSY : DISK_FAILED;
}

enum disk_status disk_posix_lock(struct disk_posix *posix, struct fault *fault) {
    return lock(posix, O_RDWR | O_CREAT, fault);
}

enum disk_status disk_posix_lock_existing(struct disk_posix *posix, struct fault *fault) {
    return lock(posix, O_RDONLY, fault);
}

void disk_posix_close(struct disk_posix *posix) {
    if (posix->lock_fd >= 0) {
        (void)close(posix->lock_fd);
    }
    (void)close(posix->directory_fd);
}
