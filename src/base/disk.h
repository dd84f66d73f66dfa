/** Files in one directory, as the journal and the checkpoint need them, behind an interface: the
 *  real directory (disk_posix.c) or the simulator's, which tears, loses and refuses writes.
 *
 *  Names are plain file names without a slash. Every call may block; the caller is a thread that
 *  may wait. Each failure leaves its reason in the `fault` of the caller. */
#ifndef ORDERD_BASE_DISK_H
#define ORDERD_BASE_DISK_H

#include "base/bytes.h"
#include "base/fault.h"

/** Durable writes are made of whole blocks of this size, from memory aligned to it. */
#define DISK_BLOCK_BYTES 4096

enum disk_status {
    DISK_OK,
    DISK_NOT_FOUND, /* no such file */
    DISK_FULL,      /* no room: nothing of the write counts, and the file is as long as it was */
    DISK_BUSY,      /* another process holds the lock */
    DISK_FAILED     /* anything else; after a failed durable write or sync the content is unknown */
};

enum disk_open_mode {
    DISK_READ,          /* must exist */
    DISK_CREATE,        /* made anew; an existing one is refused */
    DISK_CREATE_BLOCKS, /* as DISK_CREATE, written in whole blocks from memory aligned to one */
    DISK_WRITE_DURABLE, /* must exist; each write is on the medium when it returns */
};

struct disk_file;

struct disk {
    const struct disk_ops *ops;
};

struct disk_ops {
    enum disk_status (*open)(struct disk *disk, const char *name, enum disk_open_mode mode,
                             struct disk_file **file, struct fault *fault);
    void (*close)(struct disk *disk, struct disk_file *file);
    /** Reads up to `size` bytes; `*got` is less only at the end of the file. */
    enum disk_status (*read)(struct disk *disk, struct disk_file *file, void *into, size_t size,
                             uint64_t offset, size_t *got, struct fault *fault);
    /** Writes all of `size` bytes or fails. */
    enum disk_status (*write)(struct disk *disk, struct disk_file *file, const void *from,
                              size_t size, uint64_t offset, struct fault *fault);
    /** Content and size of the file are on the medium when it returns. */
    enum disk_status (*sync)(struct disk *disk, struct disk_file *file, struct fault *fault);
    enum disk_status (*size)(struct disk *disk, struct disk_file *file, uint64_t *size,
                             struct fault *fault);
    /** Replaces an existing `to`. Durable after sync_directory. */
    enum disk_status (*rename)(struct disk *disk, const char *from, const char *to,
                               struct fault *fault);
    enum disk_status (*remove)(struct disk *disk, const char *name, struct fault *fault);
    enum disk_status (*sync_directory)(struct disk *disk, struct fault *fault);
    /** Calls `visit` for every file, in no order. */
    enum disk_status (*list)(struct disk *disk, void (*visit)(void *context, const char *name),
                             void *context, struct fault *fault);
    /** Bytes that an ordinary user may still write. */
    uint64_t (*free_bytes)(struct disk *disk);
};

/** A directory of the real file system. */
struct disk_posix {
    struct disk disk;
    int directory_fd; /* owned */
    int lock_fd;      /* owned; -1 without the lock */
    char path[256];
};

/** Opens the directory `path`, making it (and its parents) where it is missing. */
MUST_CHECK enum disk_status disk_posix_open(struct disk_posix *posix, const char *path,
                                            struct fault *fault);

/** As disk_posix_open, but the directory must exist and nothing is made. */
MUST_CHECK enum disk_status disk_posix_open_existing(struct disk_posix *posix, const char *path,
                                                     struct fault *fault);

/** Takes the directory for this process alone, until disk_posix_close or the process ends.
 *  DISK_BUSY: another process has it; the fault names it. */
MUST_CHECK enum disk_status disk_posix_lock(struct disk_posix *posix, struct fault *fault);

/** As disk_posix_lock, but writes nothing: DISK_NOT_FOUND where there is no lock file, as in a
 *  copy; then nobody holds the directory, and nobody is kept out. */
MUST_CHECK enum disk_status disk_posix_lock_existing(struct disk_posix *posix, struct fault *fault);

void disk_posix_close(struct disk_posix *posix);

#endif
