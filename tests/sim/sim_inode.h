/** The content of one simulated file; private to sim_disk.c. Pages of zeroes take no memory. */
#ifndef ORDERD_TESTS_SIM_INODE_H
#define ORDERD_TESTS_SIM_INODE_H

#include "sim_disk.h"

#define SIM_PAGE_SECTORS (SIM_PAGE_BYTES / SIM_SECTOR_BYTES)

struct sim_page {
    char *medium;     /* owned; NULL: zeroes */
    char *seen;       /* owned; NULL: as on the medium */
    uint8_t dirty;    /* a bit a sector: differs from the medium; the next sync writes it */
    uint8_t stranded; /* differs, and no sync writes it any more */
};

struct sim_inode {
    struct sim_inode *next;
    struct sim_page *pages; /* owned */
    size_t page_count;
    uint64_t seen_size;
    uint64_t medium_size;
};

struct sim_inode *sim_inode_create(void);
void sim_inode_destroy(struct sim_inode *inode);
struct sim_inode *sim_inode_clone(const struct sim_inode *inode);

/** Reads what the running system sees; zeroes behind the end. */
void sim_inode_read(const struct sim_inode *inode, uint64_t offset, void *into, size_t size);

/** What becomes of each sector of a write. */
enum sim_sector_fate {
    SIM_SECTOR_UNTOUCHED,
    SIM_SECTOR_DIRTY,
    SIM_SECTOR_STRANDED,
    SIM_SECTOR_DURABLE
};

/** Writes, asking `fate` about each sector that is touched. */
void sim_inode_write(struct sim_inode *inode, uint64_t offset, const void *from, size_t size,
                     enum sim_sector_fate (*fate)(void *context), void *context);

/** Puts dirty sectors on the medium: all of them, or where `keep` is given those for which it says
 *  so, and the others are stranded where `strand` is set. */
void sim_inode_sync(struct sim_inode *inode, bool (*keep)(void *context), void *context,
                    bool strand);

/** The power fails: each sector that differs from the medium goes its own way. */
void sim_inode_lose_power(struct sim_inode *inode, struct sim_disk *disk);

void sim_inode_cut(struct sim_inode *inode, uint64_t size);

#endif
