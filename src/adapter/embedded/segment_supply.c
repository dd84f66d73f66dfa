#include "adapter/embedded/segment_supply.h"

#include "base/mailbox.h"

#include <assert.h>
#include <stdlib.h>

#define FILL_SLICE_BYTES ((size_t)1 << 20)
#define RETRY_US 1000000
#define IDLE_SLICE_US 5000

static const char filling_name[] = "journal.filling";

bool segment_supply_init(struct segment_supply *supply, struct disk *disk, struct log *log,
                         struct mailbox *writer, const struct journal_limits *limits,
                         uint64_t next_number) {
    *supply = (struct segment_supply){
        .disk = disk,
        .log = log,
        .writer = writer,
        .segment_bytes = limits->segment_bytes,
        .segment_bytes_min = limits->segment_bytes_min,
        .next_number = next_number,
        .used_thousandths = 1000,
        .zeroes_bytes = (size_t)bytes_min_u64(FILL_SLICE_BYTES, limits->segment_bytes),
    };
    supply->zeroes = aligned_alloc(JOURNAL_BLOCK_BYTES, supply->zeroes_bytes);
    if (supply->zeroes == NULL) {
        return false;
    }
    memset(supply->zeroes, 0, supply->zeroes_bytes);
    return true;
}

static void close_filling(struct segment_supply *supply) {
    if (supply->filling != NULL) {
        supply->disk->ops->close(supply->disk, supply->filling);
        supply->filling = NULL;
    }
}

void segment_supply_deinit(struct segment_supply *supply) {
    struct ready_segment segment;
    close_filling(supply);
    if (segment_supply_take(supply, &segment)) {
        supply->disk->ops->close(supply->disk, segment.file);
    }
    free(supply->zeroes);
}

bool segment_supply_take(struct segment_supply *supply, struct ready_segment *segment) {
    struct ready_segment *ready = atomic_load_explicit(&supply->ready, memory_order_acquire);
    if (ready == NULL) {
        return false;
    }
    *segment = *ready;
    atomic_store_explicit(&supply->ready, NULL, memory_order_release);
    return true;
}

static void set_state(struct segment_supply *supply, enum segment_supply_state state) {
    atomic_store_explicit(&supply->state, (int)state, memory_order_relaxed);
}

/** Gives up for now. */
static void fail(struct segment_supply *supply, enum disk_status status, int64_t now_us,
                 const struct fault *fault) {
    bool full = status == DISK_FULL;
    struct fault ignored;
    close_filling(supply);
    (void)supply->disk->ops->remove(supply->disk, filling_name, &ignored);
    set_state(supply, full ? SEGMENT_SUPPLY_FULL : SEGMENT_SUPPLY_FAILED);
    supply->retry_at_us = now_us + RETRY_US;
    log_write_limited(supply->log, &supply->limit, LOG_ERROR, "journal",
                      "no next segment: %s; creates are refused when the present one is used up",
                      fault->text);
    mailbox_wake(supply->writer);
}

static enum disk_status write_header(struct segment_supply *supply, struct disk_file *file,
                                     uint64_t size_bytes, struct fault *fault) {
    /* The first block of the zeroes serves as the buffer, and is zeroed again. */
    journal_segment_header_write(supply->zeroes, supply->next_number, size_bytes);
    enum disk_status status =
        supply->disk->ops->write(supply->disk, file, supply->zeroes, JOURNAL_BLOCK_BYTES, 0, fault);
    memset(supply->zeroes, 0, JOURNAL_BLOCK_BYTES);
    return status;
}

/** Gives the file `from`, whole and synced, its name, and hands it over. */
static enum disk_status hand_over(struct segment_supply *supply, const char *from,
                                  uint64_t size_bytes, struct fault *fault) {
    struct disk *disk = supply->disk;
    char name[JOURNAL_NAME_MAX];
    journal_segment_name(supply->next_number, name);
    enum disk_status status = disk->ops->rename(disk, from, name, fault);
    if (status == DISK_OK) {
        status = disk->ops->sync_directory(disk, fault);
    }
    if (status == DISK_OK) {
        status = disk->ops->open(disk, name, DISK_WRITE_DURABLE, &supply->slot.file, fault);
    }
    if (status != DISK_OK) {
        return status;
    }
    supply->slot.number = supply->next_number++;
    supply->slot.size_bytes = size_bytes;
    set_state(supply, SEGMENT_SUPPLY_WORKING);
    atomic_store_explicit(&supply->ready, &supply->slot, memory_order_release);
    mailbox_wake(supply->writer);
    return DISK_OK;
}

static void take_spare(struct segment_supply *supply) {
    supply->spare_first++;
    supply->spare_count--;
}

/** Turns an old segment into the next one: its frames carry its old number, so only the header is
 *  written. It has a name of its own meanwhile, so that a crash leaves no segment without its
 *  header. */
static enum disk_status reuse_spare(struct segment_supply *supply, struct fault *fault) {
    struct disk *disk = supply->disk;
    struct disk_file *file;
    uint64_t size_bytes;
    char name[JOURNAL_NAME_MAX];
    journal_segment_name(supply->spare_first, name);
    enum disk_status status = disk->ops->rename(disk, name, filling_name, fault);
    if (status == DISK_NOT_FOUND) {
        take_spare(supply); /* somebody took it away: another way is found */
        return DISK_OK;
    }
    if (status == DISK_OK) {
        take_spare(supply);
        /* Before the header changes: no crash may leave the old name on the new number. */
        status = disk->ops->sync_directory(disk, fault);
    }
    if (status == DISK_OK) {
        status = disk->ops->open(disk, filling_name, DISK_WRITE_DURABLE, &file, fault);
    }
    if (status != DISK_OK) {
        return status;
    }
    status = disk->ops->size(disk, file, &size_bytes, fault);
    if (status == DISK_OK) {
        status = write_header(supply, file, size_bytes, fault);
    }
    disk->ops->close(disk, file);
    return status == DISK_OK ? hand_over(supply, filling_name, size_bytes, fault) : status;
}

static enum disk_status begin_filling(struct segment_supply *supply, struct fault *fault) {
    struct disk *disk = supply->disk;
    struct fault ignored;
    /* Left behind by a crash. */
    (void)disk->ops->remove(disk, filling_name, &ignored);
    supply->filling_bytes = supply->segment_bytes;
    supply->filled_bytes = 0;
    return disk->ops->open(disk, filling_name, DISK_CREATE_BLOCKS, &supply->filling, fault);
}

/** The disk is full in the middle: what is filled becomes a smaller segment, if it is large
 *  enough to be one. */
static bool settle_for_less(struct segment_supply *supply) {
    uint64_t half = supply->filled_bytes / 2;
    if (half < supply->segment_bytes_min) {
        return false;
    }
    supply->filling_bytes = half - half % JOURNAL_BLOCK_BYTES;
    return true;
}

/** Starts over with the smaller size that settle_for_less found, so that the file is not larger
 *  than its header says, and leaves room for the file system. */
static enum disk_status restart_filling(struct segment_supply *supply, struct fault *fault) {
    uint64_t smaller = supply->filling_bytes;
    close_filling(supply);
    enum disk_status status = begin_filling(supply, fault);
    supply->filling_bytes = smaller;
    return status;
}

static enum disk_status fill_slice(struct segment_supply *supply, struct fault *fault) {
    struct disk *disk = supply->disk;
    size_t size =
        (size_t)bytes_min_u64(supply->zeroes_bytes, supply->filling_bytes - supply->filled_bytes);
    enum disk_status status =
        disk->ops->write(disk, supply->filling, supply->zeroes, size, supply->filled_bytes, fault);
    if (status == DISK_OK) {
        supply->filled_bytes += size;
    }
    return status;
}

static enum disk_status finish_filling(struct segment_supply *supply, struct fault *fault) {
    enum disk_status status = write_header(supply, supply->filling, supply->filling_bytes, fault);
    if (status == DISK_OK) {
        status = supply->disk->ops->sync(supply->disk, supply->filling, fault);
    }
    if (status != DISK_OK) {
        return status;
    }
    close_filling(supply);
    return hand_over(supply, filling_name, supply->filling_bytes, fault);
}

/** True where the next slice of zero bytes is due: the file is to be ready when nine tenths of the
 *  present segment are used, and a slow writer should not make it wait for ever. */
static bool is_slice_due(const struct segment_supply *supply, int64_t now_us) {
    uint64_t used = atomic_load_explicit(&supply->used_thousandths, memory_order_relaxed);
    return supply->filled_bytes * 900 <= supply->filling_bytes * (used + 25) ||
           now_us >= supply->idle_slice_at_us;
}

static enum disk_status work(struct segment_supply *supply, struct fault *fault) {
    if (supply->filling == NULL) {
        return supply->spare_count > 0 ? reuse_spare(supply, fault) : begin_filling(supply, fault);
    }
    if (supply->filled_bytes == supply->filling_bytes) {
        return finish_filling(supply, fault);
    }
    enum disk_status status = fill_slice(supply, fault);
    if (status == DISK_FULL && settle_for_less(supply)) {
        return restart_filling(supply, fault);
    }
    return status;
}

bool segment_supply_step(struct segment_supply *supply, int64_t now_us) {
    if (segment_supply_is_ready(supply)) {
        return false;
    }
    bool stuck = segment_supply_state(supply) != SEGMENT_SUPPLY_WORKING;
    if (stuck && supply->filling == NULL && now_us < supply->retry_at_us) {
        return false;
    }
    if (supply->filling != NULL && !is_slice_due(supply, now_us)) {
        return false;
    }
    supply->idle_slice_at_us = now_us + IDLE_SLICE_US;
    struct fault fault;
    enum disk_status status = work(supply, &fault);
    if (status != DISK_OK) {
        fail(supply, status, now_us, &fault);
        return false;
    }
    return !segment_supply_is_ready(supply);
}

void segment_supply_recycle(struct segment_supply *supply, uint64_t number) {
    if (supply->spare_count == 0) {
        supply->spare_first = number;
    }
    assert(number == supply->spare_first + supply->spare_count);
    supply->spare_count++;
    if (segment_supply_state(supply) != SEGMENT_SUPPLY_WORKING) {
        supply->retry_at_us = 0; /* it needs no room of the disk */
    }
}

bool segment_supply_trim(struct segment_supply *supply, int64_t now_us) {
    struct fault fault;
    char name[JOURNAL_NAME_MAX];
    if (supply->spare_count <= SEGMENT_SPARES_MAX || now_us < supply->trim_at_us) {
        return false;
    }
    journal_segment_name(supply->spare_first, name);
    enum disk_status status = supply->disk->ops->remove(supply->disk, name, &fault);
    if (status != DISK_OK && status != DISK_NOT_FOUND) {
        log_write_limited(supply->log, &supply->limit, LOG_WARNING, "journal",
                          "an old segment stays for now: %s", fault.text);
        supply->trim_at_us = now_us + RETRY_US;
        return false;
    }
    take_spare(supply);
    return true;
}

void segment_supply_refuse(struct segment_supply *supply) {
    if (!segment_supply_is_ready(supply)) {
        set_state(supply, SEGMENT_SUPPLY_FULL);
        mailbox_wake(supply->writer);
    }
}
