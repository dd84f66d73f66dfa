/* Any data directory: segments and checkpoints of arbitrary bytes. The store starts, and then what
 * it has is sound, it goes on, and the next start finds the same; or it is refused with one line
 * and nothing left open.
 *
 * The input: a byte of flags (1: checksums are made right after the bytes are placed, so that what
 * is behind them is reached too), then files: kind (odd: a checkpoint), number (2 bytes), size in
 * blocks (1), parts (1), and for each part offset (3 bytes), length (2) and so many bytes. What no
 * part covers is zero. All numbers little-endian; where the input ends, so does everything. */
#include "adapter/embedded/checkpoint_format.h"
#include "adapter/embedded/embedded_core.h"
#include "fuzz.h"
#include "sim_archive.h"
#include "sim_disk.h"

#include <unistd.h>

#define FILES_MAX 12
#define BLOCKS_MAX 24
#define FILE_BYTES_MAX ((size_t)BLOCKS_MAX * JOURNAL_BLOCK_BYTES)
#define TIME_US (ORDER_EPOCH_US + INT64_C(3600000000))

struct input {
    const uint8_t *data;
    size_t size;
};

static size_t take(struct input *input, void *into, size_t size) {
    size_t taken = bytes_min_size(size, input->size);
    memcpy(into, input->data, taken);
    input->data += taken;
    input->size -= taken;
    return taken;
}

static uint32_t take_number(struct input *input, size_t bytes) {
    uint8_t raw[4] = {0};
    (void)take(input, raw, bytes);
    return (uint32_t)raw[0] | (uint32_t)raw[1] << 8 | (uint32_t)raw[2] << 16;
}

/* --- Making checksums right. --- */

static void seal_records(char *records, size_t count) {
    for (size_t i = 0; i < count; i++) {
        order_record_seal((struct order_record *)(records + i * ORDER_RECORD_BYTES));
    }
}

static void seal_frame(char *frame, size_t room) {
    struct journal_frame_header header;
    struct journal_release releases[64];
    memcpy(&header, frame, sizeof(header));
    if (!journal_frame_is_plausible(&header, header.segment, 0) ||
        header.release_count > ARRAY_COUNT(releases) ||
        journal_frame_bytes(header.record_count, header.release_count) > room) {
        return;
    }
    seal_records(frame + JOURNAL_FRAME_HEADER_BYTES, header.record_count);
    memcpy(releases, frame + journal_frame_payload_end(header.record_count, 0),
           header.release_count * sizeof(releases[0]));
    (void)journal_frame_seal(frame, header, releases);
}

static void seal_segment(char *bytes, size_t size) {
    struct journal_segment_header header;
    memcpy(&header, bytes, sizeof(header));
    journal_segment_header_write(bytes, header.number, header.size_bytes);
    for (size_t at = JOURNAL_BLOCK_BYTES; at < size; at += JOURNAL_BLOCK_BYTES) {
        seal_frame(bytes + at, size - at);
    }
}

static void seal_checkpoint(char *bytes, size_t size) {
    struct checkpoint_block block;
    for (size_t at = 0; at + sizeof(block) <= size;) {
        memcpy(&block, bytes + at, sizeof(block));
        size_t left = size - at - sizeof(block);
        if (block.magic != CHECKPOINT_MAGIC || block.payload_bytes > left) {
            return;
        }
        if (block.kind == CHECKPOINT_ORDERS) {
            seal_records(bytes + at + sizeof(block), block.payload_bytes / ORDER_RECORD_BYTES);
        }
        block.crc = checkpoint_block_crc(bytes + at, sizeof(block) + block.payload_bytes);
        memcpy(bytes + at, &block, sizeof(block));
        at += sizeof(block) + block.payload_bytes;
    }
}

/* --- The directory. --- */

static void put_file(struct sim_disk *disk, struct input *input, char *bytes, bool seal) {
    char name[CHECKPOINT_NAME_MAX];
    bool is_checkpoint = (take_number(input, 1) & 1) != 0;
    uint64_t number = take_number(input, 2);
    size_t size = (take_number(input, 1) % BLOCKS_MAX + 1) * JOURNAL_BLOCK_BYTES;
    uint32_t parts = take_number(input, 1);
    memset(bytes, 0, FILE_BYTES_MAX);
    for (uint32_t i = 0; i < parts && input->size > 0; i++) {
        size_t offset = take_number(input, 3) % size;
        size_t length = take_number(input, 2);
        (void)take(input, bytes + offset, bytes_min_size(length, size - offset));
    }
    if (seal && is_checkpoint) {
        seal_checkpoint(bytes, size);
    } else if (seal) {
        seal_segment(bytes, size);
    }
    if (is_checkpoint) {
        checkpoint_name(number, name);
    } else {
        journal_segment_name(number, name);
    }
    sim_disk_put_file(disk, name, bytes, size);
}

static void make_directory(struct sim_disk *disk, struct input *input) {
    bool seal = (take_number(input, 1) & 1) != 0;
    char *bytes = aligned_alloc(JOURNAL_BLOCK_BYTES, FILE_BYTES_MAX);
    FUZZ_CHECK(bytes != NULL, "memory");
    for (int i = 0; i < FILES_MAX && input->size > 0; i++) {
        put_file(disk, input, bytes, seal);
    }
    free(bytes);
}

/* --- The store. --- */

struct world {
    struct clock clock;
    struct log log;
    struct sim_disk disk;
    struct sim_archive archive;
    struct mailbox reads;
    struct embedded_core *core;
};

static int64_t now(const struct clock *clock) {
    (void)clock;
    return TIME_US;
}

static bool open_store(struct world *world, struct fault *fault) {
    static const struct journal_limits limits = {
        .segment_bytes = 16 * JOURNAL_BLOCK_BYTES,
        .segment_bytes_min = 16 * JOURNAL_BLOCK_BYTES,
        .max_bytes = 64 * 16 * JOURNAL_BLOCK_BYTES,
        .keep_bytes = 16 * JOURNAL_BLOCK_BYTES,
        .checkpoint_bytes = JOURNAL_BLOCK_BYTES,
        .tail_changes = 64,
        .checkpoint_block_bytes = 8 * CHECKPOINT_BLOCK_BYTES_MIN,
        .frame_records_max = 16,
        .frame_releases_max = 16,
    };
    static const struct memory_shares memory = {.table_bytes = 20000, .filter_bytes = 4096};
    struct embedded_core_parts parts = {
        .disk = &world->disk.disk,
        .log = &world->log,
        .clock = &world->clock,
        .references = &world->archive.references,
        .reads = &world->reads,
        .memory = &memory,
        .limits = &limits,
        .window_us = INT64_C(3600000000),
        .now_us = TIME_US,
    };
    return embedded_core_open(world->core, &parts, fault);
}

static void check_entry(void *context, const struct order_table_entry *entry) {
    const struct world *world = context;
    struct order_record order;
    FUZZ_CHECK(order_table_get(world->core->table, entry->order_id, &order), "order %llu",
               (unsigned long long)entry->order_id);
    FUZZ_CHECK(order_record_check(&order) == ORDER_RECORD_VALID &&
                   order.version == entry->version && order.order_id == entry->order_id,
               "order %llu", (unsigned long long)entry->order_id);
}

/** Lets the store and the keeper work, seals the journal, and starts again. */
static void go_on(struct world *world) {
    struct fault fault;
    uint64_t cursor = 0;
    struct embedded_core *core = world->core;
    order_table_scan(core->table, &cursor, UINT64_MAX / 2, check_entry, world);
    for (int i = 0; i < 40; i++) {
        (void)keeper_step(&core->keeper, TIME_US + i * 10000);
        (void)embedded_store_step(&core->store);
    }
    uint64_t next_change = core->journal.next_change;
    uint64_t next_sequence = core->journal.next_sequence;
    embedded_core_close(core);
    FUZZ_CHECK(world->disk.open_files == NULL, "a file was left open");
    FUZZ_CHECK(open_store(world, &fault), "%s", fault.text);
    FUZZ_CHECK(core->recovered.next_change == next_change &&
                   core->recovered.next_sequence == next_sequence,
               "the next start found another end");
    embedded_core_close(core);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct world *world = aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(*world), 64));
    FUZZ_CHECK(world != NULL, "memory");
    memset(world, 0, sizeof(*world));
    world->core = aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(*world->core), 64));
    FUZZ_CHECK(world->core != NULL && mailbox_init(&world->reads, 16), "memory");
    struct input input = {data, size};
    struct fault fault;
    world->clock.now_us = now;
    log_init(&world->log, STDERR_FILENO, LOG_ERROR + 1);
    sim_disk_init(&world->disk, 1);
    sim_archive_init(&world->archive, 1, &world->clock);
    make_directory(&world->disk, &input);
    fault.text[0] = 0;
    if (open_store(world, &fault)) {
        go_on(world);
    } else {
        FUZZ_CHECK(fault.text[0] != 0 && strchr(fault.text, '\n') == NULL, "%s", fault.text);
    }
    FUZZ_CHECK(world->disk.open_files == NULL, "a file was left open");
    sim_archive_deinit(&world->archive);
    sim_disk_deinit(&world->disk);
    mailbox_deinit(&world->reads);
    free(world->core);
    free(world);
    return 0;
}
