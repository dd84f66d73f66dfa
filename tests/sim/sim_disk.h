/** A disk in memory that behaves as badly as a real one may, under a seed.
 *
 *  A file is made of sectors of 512 bytes, each with what is on the medium and, where that differs,
 *  what the running system sees. A write is lost with the power until a sync (or, for a file opened
 *  DISK_WRITE_DURABLE, the write itself) has put it on the medium; until then any subset of its
 *  sectors may be there. A write or sync that fails leaves any subset, and what is not on the
 *  medium by then is never put there by a later sync, only by writing it again. Creating, renaming
 *  and removing are on the medium after sync_directory; before, with the power goes any tail of
 *  them.
 *
 *  Two ends: the process dies (what the running system sees stays) or the power fails. Either may
 *  come at any operation, in the middle of its work: from there on every call fails until the
 *  caller has thrown the process's state away and says so.
 *
 *  One thread. The caller owns the struct and what it points to. */
#ifndef ORDERD_TESTS_SIM_DISK_H
#define ORDERD_TESTS_SIM_DISK_H

#include "base/disk.h"
#include "base/random.h"

#define SIM_SECTOR_BYTES 512
#define SIM_PAGE_BYTES 4096
#define SIM_DISK_FILES_MAX 512
#define SIM_DISK_NAME_MAX 64

struct sim_inode;

struct sim_entry {
    char name[SIM_DISK_NAME_MAX];
    struct sim_inode *inode;
};

struct sim_directory {
    struct sim_entry entries[SIM_DISK_FILES_MAX];
    size_t count;
};

/** A change of the directory that is not on the medium yet. */
struct sim_directory_change {
    char from[SIM_DISK_NAME_MAX]; /* empty: created */
    char to[SIM_DISK_NAME_MAX];   /* empty: removed */
    struct sim_inode *inode;      /* of a created file */
};

/** How often an operation fails, of a million. */
struct sim_disk_rates {
    uint32_t read;
    uint32_t write;
    uint32_t write_durable;
    uint32_t sync;
    uint32_t directory; /* open for creating, rename, remove, sync_directory */
};

struct sim_disk_counts {
    uint64_t operations;
    uint64_t durable_writes;
    uint64_t syncs;
    uint64_t failures; /* all of the following together */
    uint64_t failed_reads;
    uint64_t failed_writes;
    uint64_t failed_durable_writes;
    uint64_t failed_syncs;
    uint64_t failed_directory_operations;
    uint64_t refused_full;
    uint64_t sectors_lost; /* with the power */
    uint64_t sectors_kept; /* that were not synced */
    uint64_t sectors_torn; /* half old, half new */
    uint64_t writes_torn;  /* durable writes that the end came into */
    uint64_t directory_changes_lost;
};

struct sim_disk {
    struct disk disk;
    struct random_source random;
    struct sim_disk_rates rates;
    uint64_t quota_bytes; /* of all files together */
    uint64_t used_bytes;
    /** After so many operations the process ends in the middle of one; 0: never. */
    uint64_t end_in_operations;
    bool dead;
    /** Another thread's turn: called before an operation does its work, so that threads meet in the
     *  middle of each other's work. May be NULL. */
    void (*preempt)(void *context);
    void *preempt_context;
    struct sim_disk_counts counts;
    /* Its own: */
    struct sim_directory seen;
    struct sim_directory medium;
    struct sim_directory_change *changes; /* between the two, in order */
    size_t change_count;
    size_t change_capacity;
    struct sim_inode *inodes; /* all that exist */
    struct disk_file *open_files;
};

void sim_disk_init(struct sim_disk *disk, uint64_t seed);
void sim_disk_deinit(struct sim_disk *disk);

/** Makes `copy` a disk with the same content and random state, nothing open. */
void sim_disk_clone(const struct sim_disk *disk, struct sim_disk *copy);

/** The process is gone: what it had open is closed; what the system had taken from it stays. */
void sim_disk_process_died(struct sim_disk *disk);

/** The power failed: the process is gone, and of what was not synced any part. */
void sim_disk_power_failed(struct sim_disk *disk);

/* --- For tests that look behind the interface or damage what is there. --- */

/** Size of a file; false where there is none. */
MUST_CHECK bool sim_disk_size_of(const struct sim_disk *disk, const char *name, uint64_t *size);

/** Bytes of all files whose name begins with `prefix`. */
uint64_t sim_disk_bytes_of(const struct sim_disk *disk, const char *prefix);

/** How many files there are whose name begins with `prefix`. */
size_t sim_disk_count_of(const struct sim_disk *disk, const char *prefix);

/** Copies bytes out of, or into, a file as it is on the medium and as it is seen. */
void sim_disk_peek(const struct sim_disk *disk, const char *name, uint64_t offset, void *into,
                   size_t size);
void sim_disk_poke(struct sim_disk *disk, const char *name, uint64_t offset, const void *from,
                   size_t size);

/** Makes a file of just these bytes, on the medium at once. */
void sim_disk_put_file(struct sim_disk *disk, const char *name, const void *bytes, size_t size);

/** Takes a file away, from the medium too. */
void sim_disk_drop_file(struct sim_disk *disk, const char *name);

/** Cuts a file, on the medium too. */
void sim_disk_cut_file(struct sim_disk *disk, const char *name, uint64_t size);

#endif
