#include "sim_inode.h"

#include <assert.h>
#include <stdlib.h>

struct sim_inode *sim_inode_create(void) {
    struct sim_inode *inode = calloc(1, sizeof(*inode));
    assert(inode != NULL);
    return inode;
}

void sim_inode_destroy(struct sim_inode *inode) {
    for (size_t i = 0; i < inode->page_count; i++) {
        free(inode->pages[i].medium);
        free(inode->pages[i].seen);
    }
    free(inode->pages);
    free(inode);
}

static char *copy_of(const char *page) {
    char *copy = malloc(SIM_PAGE_BYTES);
    assert(copy != NULL);
    if (page == NULL) {
        memset(copy, 0, SIM_PAGE_BYTES);
    } else {
        memcpy(copy, page, SIM_PAGE_BYTES);
    }
    return copy;
}

struct sim_inode *sim_inode_clone(const struct sim_inode *inode) {
    struct sim_inode *clone = sim_inode_create();
    *clone = *inode;
    clone->pages = calloc(inode->page_count + 1, sizeof(*clone->pages));
    assert(clone->pages != NULL);
    for (size_t i = 0; i < inode->page_count; i++) {
        const struct sim_page *page = &inode->pages[i];
        clone->pages[i] = *page;
        clone->pages[i].medium = page->medium == NULL ? NULL : copy_of(page->medium);
        clone->pages[i].seen = page->seen == NULL ? NULL : copy_of(page->seen);
    }
    return clone;
}

static struct sim_page *page_at(struct sim_inode *inode, size_t number) {
    if (number >= inode->page_count) {
        size_t count = number + 1 + number / 2;
        struct sim_page *pages = realloc(inode->pages, count * sizeof(*pages));
        assert(pages != NULL);
        memset(pages + inode->page_count, 0, (count - inode->page_count) * sizeof(*pages));
        inode->pages = pages;
        inode->page_count = count;
    }
    return &inode->pages[number];
}

static bool is_zero(const char *bytes, size_t size) {
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

void sim_inode_read(const struct sim_inode *inode, uint64_t offset, void *into, size_t size) {
    for (size_t done = 0; done < size;) {
        size_t number = (size_t)((offset + done) / SIM_PAGE_BYTES);
        size_t within = (size_t)((offset + done) % SIM_PAGE_BYTES);
        size_t part = bytes_min_size(size - done, SIM_PAGE_BYTES - within);
        const char *from = NULL;
        if (number < inode->page_count) {
            const struct sim_page *page = &inode->pages[number];
            from = page->seen != NULL ? page->seen : page->medium;
        }
        if (from == NULL) {
            memset((char *)into + done, 0, part);
        } else {
            memcpy((char *)into + done, from + within, part);
        }
        done += part;
    }
}

/** Gives up the second copy where nothing differs. */
static void settle(struct sim_page *page) {
    if (page->dirty == 0 && page->stranded == 0) {
        free(page->seen);
        page->seen = NULL;
    }
}

static void set_medium(struct sim_page *page, size_t within, const char *from, size_t size) {
    if (page->medium == NULL && is_zero(from, size)) {
        return;
    }
    if (page->medium == NULL) {
        page->medium = copy_of(NULL);
    }
    memcpy(page->medium + within, from, size);
}

/** Writes within one sector. */
static void write_sector(struct sim_page *page, size_t within, const char *from, size_t size,
                         enum sim_sector_fate fate) {
    uint8_t bit = (uint8_t)(1u << within / SIM_SECTOR_BYTES);
    if (fate == SIM_SECTOR_UNTOUCHED ||
        (page->seen == NULL && page->medium == NULL && is_zero(from, size))) {
        return;
    }
    if (fate != SIM_SECTOR_DURABLE || page->seen != NULL) {
        if (page->seen == NULL) {
            page->seen = copy_of(page->medium);
        }
        memcpy(page->seen + within, from, size);
    }
    page->dirty &= (uint8_t)~bit;
    page->stranded &= (uint8_t)~bit;
    if (fate == SIM_SECTOR_DURABLE && page->seen != NULL) {
        size_t begins = within - within % SIM_SECTOR_BYTES;
        set_medium(page, begins, page->seen + begins, SIM_SECTOR_BYTES);
    } else if (fate == SIM_SECTOR_DURABLE) {
        set_medium(page, within, from, size);
    } else if (fate == SIM_SECTOR_DIRTY) {
        page->dirty |= bit;
    } else {
        page->stranded |= bit;
    }
}

void sim_inode_write(struct sim_inode *inode, uint64_t offset, const void *from, size_t size,
                     enum sim_sector_fate (*fate)(void *), void *context) {
    bool any_durable = false;
    for (size_t done = 0; done < size;) {
        struct sim_page *page = page_at(inode, (size_t)((offset + done) / SIM_PAGE_BYTES));
        size_t within = (size_t)((offset + done) % SIM_PAGE_BYTES);
        size_t part = bytes_min_size(size - done, SIM_SECTOR_BYTES - within % SIM_SECTOR_BYTES);
        enum sim_sector_fate chosen = fate(context);
        write_sector(page, within, (const char *)from + done, part, chosen);
        settle(page);
        if (chosen != SIM_SECTOR_UNTOUCHED) {
            inode->seen_size = bytes_max_u64(inode->seen_size, offset + done + part);
        }
        any_durable |= chosen == SIM_SECTOR_DURABLE;
        done += part;
    }
    if (any_durable) {
        inode->medium_size = inode->seen_size;
    }
}

void sim_inode_sync(struct sim_inode *inode, bool (*keep)(void *), void *context, bool strand) {
    for (size_t number = 0; number < inode->page_count; number++) {
        struct sim_page *page = &inode->pages[number];
        for (size_t sector = 0; page->dirty != 0 && sector < SIM_PAGE_SECTORS; sector++) {
            uint8_t bit = (uint8_t)(1u << sector);
            if ((page->dirty & bit) == 0) {
                continue;
            }
            if (keep == NULL || keep(context)) {
                size_t within = sector * SIM_SECTOR_BYTES;
                set_medium(page, within, page->seen + within, SIM_SECTOR_BYTES);
                page->dirty &= (uint8_t)~bit;
            } else if (strand) {
                page->dirty &= (uint8_t)~bit;
                page->stranded |= bit;
            }
        }
        settle(page);
    }
    inode->medium_size = inode->seen_size;
}

/** Decides about one sector when the power fails. */
static void lose_sector(struct sim_page *page, size_t sector, unsigned keep_of_eight,
                        struct sim_disk *disk) {
    size_t within = sector * SIM_SECTOR_BYTES;
    if (!random_chance(&disk->random, keep_of_eight, 8)) {
        disk->counts.sectors_lost++;
        return;
    }
    size_t kept = SIM_SECTOR_BYTES;
    if (random_chance(&disk->random, 1, 8)) {
        /* It broke off in the middle of the sector: at any byte, or between cache lines. */
        size_t unit = random_chance(&disk->random, 1, 2) ? 1 : CACHE_LINE_BYTES;
        kept = unit * (size_t)random_below(&disk->random, SIM_SECTOR_BYTES / unit);
        disk->counts.sectors_torn++;
    }
    disk->counts.sectors_kept++;
    set_medium(page, within, page->seen + within, kept);
}

void sim_inode_lose_power(struct sim_inode *inode, struct sim_disk *disk) {
    static const unsigned keeps[] = {0, 1, 4, 7, 8};
    unsigned keep = keeps[random_below(&disk->random, ARRAY_COUNT(keeps))];
    for (size_t number = 0; number < inode->page_count; number++) {
        struct sim_page *page = &inode->pages[number];
        for (size_t sector = 0; sector < SIM_PAGE_SECTORS; sector++) {
            if (((page->dirty | page->stranded) >> sector & 1) != 0) {
                lose_sector(page, sector, keep, disk);
            }
        }
        page->dirty = 0;
        page->stranded = 0;
        settle(page);
    }
    if (random_chance(&disk->random, 1, 2)) {
        inode->medium_size = inode->seen_size;
    }
    sim_inode_cut(inode, inode->medium_size);
}

void sim_inode_cut(struct sim_inode *inode, uint64_t size) {
    for (size_t number = 0; number < inode->page_count; number++) {
        struct sim_page *page = &inode->pages[number];
        uint64_t begins = (uint64_t)number * SIM_PAGE_BYTES;
        if (begins >= size) {
            free(page->medium);
            free(page->seen);
            *page = (struct sim_page){.medium = NULL};
        } else if (begins + SIM_PAGE_BYTES > size) {
            size_t kept = (size_t)(size - begins);
            if (page->medium != NULL) {
                memset(page->medium + kept, 0, SIM_PAGE_BYTES - kept);
            }
            if (page->seen != NULL) {
                memset(page->seen + kept, 0, SIM_PAGE_BYTES - kept);
            }
        }
    }
    inode->seen_size = size;
    inode->medium_size = size;
}
