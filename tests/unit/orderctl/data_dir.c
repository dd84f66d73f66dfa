#include "data_dir.h"

#include "adapter/embedded/archive_rocksdb_handle.h"
#include "adapter/embedded/checkpoint.h"
#include "adapter/embedded/checkpoint_format.h"
#include "adapter/embedded/journal_format.h"

#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND_US 1000000
#define FILTER_BYTES 65536

/** A step that must not fail, in every build. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void path_of(const struct data_dir *dir, const char *file, char path[PATH_MAX]) {
    int size = snprintf(path, PATH_MAX, "%s/%s", dir->path, file);
    MUST(size > 0 && size < PATH_MAX);
}

static int open_file(const struct data_dir *dir, const char *file, int flags) {
    char path[PATH_MAX];
    path_of(dir, file, path);
    int fd = open(path, flags | O_CLOEXEC, 0640);
    MUST(fd >= 0);
    return fd;
}

static void write_at(int fd, const void *bytes, size_t size, uint64_t offset) {
    MUST(pwrite(fd, bytes, size, (off_t)offset) == (ssize_t)size);
}

void data_dir_make(struct data_dir *dir) {
    const char *parent = getenv("TMPDIR");
    *dir = (struct data_dir){
        .segment_fd = -1, .sequence = 1, .change = 1, .time_us = DATA_DIR_TIME_US};
    (void)snprintf(dir->path, sizeof(dir->path), "%s/data-XXXXXX",
                   parent == NULL ? "/tmp" : parent);
    MUST(mkdtemp(dir->path) != NULL);
    dir->frame = aligned_alloc(JOURNAL_BLOCK_BYTES, JOURNAL_FRAME_BYTES_MAX);
    MUST(dir->frame != NULL);
    (void)close(open_file(dir, "lock", O_CREAT | O_RDWR));
}

static int remove_entry(const char *path, const struct stat *status, int type,
                        struct FTW *position) {
    (void)status;
    (void)type;
    (void)position;
    return remove(path);
}

void data_dir_remove(struct data_dir *dir) {
    if (dir->segment_fd >= 0) {
        (void)close(dir->segment_fd);
    }
    free(dir->frame);
    MUST(nftw(dir->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

/* --- The journal. --- */

void data_dir_begin_segment(struct data_dir *dir, uint64_t number) {
    char name[JOURNAL_NAME_MAX];
    char block[JOURNAL_BLOCK_BYTES];
    if (dir->segment_fd >= 0) {
        (void)close(dir->segment_fd);
    }
    journal_segment_name(number, name);
    dir->segment_fd = open_file(dir, name, O_CREAT | O_EXCL | O_RDWR);
    MUST(ftruncate(dir->segment_fd, DATA_DIR_SEGMENT_BYTES) == 0);
    journal_segment_header_write(block, number, DATA_DIR_SEGMENT_BYTES);
    write_at(dir->segment_fd, block, sizeof(block), 0);
    dir->segment = number;
    dir->offset = JOURNAL_BLOCK_BYTES;
}

uint64_t data_dir_append(struct data_dir *dir, const struct order_record *orders, uint32_t count,
                         const struct order_record *left, uint32_t left_count) {
    struct journal_release releases[16];
    MUST(left_count <= ARRAY_COUNT(releases));
    for (uint32_t i = 0; i < left_count; i++) {
        releases[i].order_id = left[i].order_id;
        releases[i].reference_hash = order_record_reference_hash(&left[i]);
    }
    struct journal_frame_header header = {
        .segment = dir->segment,
        .sequence = dir->sequence++,
        .first_change = dir->change,
        .time_us = dir->time_us,
        .record_count = count,
        .release_count = left_count,
    };
    if (count > 0) {
        memcpy(dir->frame + JOURNAL_FRAME_HEADER_BYTES, orders, count * sizeof(*orders));
    }
    size_t size = journal_frame_seal(dir->frame, header, releases);
    uint64_t offset = dir->offset;
    write_at(dir->segment_fd, dir->frame, size, offset);
    dir->offset += size;
    dir->change += count;
    dir->time_us += SECOND_US;
    return offset;
}

/* --- The checkpoint. --- */

/** One being written. */
struct writing {
    int fd;
    uint64_t offset;
    uint64_t sequence;
    uint32_t number;
    char buffer[sizeof(struct checkpoint_block) + FILTER_BYTES];
};

static void write_block(struct writing *writing, uint32_t kind, const void *payload, size_t size,
                        uint64_t position) {
    struct checkpoint_block block = {
        .magic = CHECKPOINT_MAGIC,
        .sequence = writing->sequence,
        .number = writing->number++,
        .kind = kind,
        .payload_bytes = (uint32_t)size,
        .position = position,
    };
    MUST(size <= FILTER_BYTES);
    memcpy(writing->buffer, &block, sizeof(block));
    if (size > 0) {
        memcpy(writing->buffer + sizeof(block), payload, size);
    }
    block.crc = checkpoint_block_crc(writing->buffer, sizeof(block) + size);
    memcpy(writing->buffer, &block, sizeof(block));
    write_at(writing->fd, writing->buffer, sizeof(block) + size, writing->offset);
    writing->offset += sizeof(block) + size;
}

void data_dir_checkpoint(struct data_dir *dir, const struct order_record *orders, size_t count,
                         const struct order_record *archived, size_t archived_count) {
    char name[CHECKPOINT_NAME_MAX];
    struct reference_filter filter;
    struct writing *writing = calloc(1, sizeof(*writing));
    MUST(writing != NULL && reference_filter_init(&filter, FILTER_BYTES));
    for (size_t i = 0; i < archived_count; i++) {
        reference_filter_add(&filter, order_record_reference_hash(&archived[i]));
    }
    struct checkpoint_begin begin = {
        .snapshot = {.sequence = dir->sequence - 1,
                     .next_change = dir->change,
                     .time_us = dir->time_us},
        .filter_bytes = reference_filter_bytes(&filter),
    };
    writing->sequence = dir->sequence - 1;
    checkpoint_name(writing->sequence, name);
    writing->fd = open_file(dir, name, O_CREAT | O_TRUNC | O_RDWR);
    write_block(writing, CHECKPOINT_BEGIN, &begin, sizeof(begin), 0);
    if (count > 0) {
        write_block(writing, CHECKPOINT_ORDERS, orders, count * sizeof(*orders), 0);
    }
    write_block(writing, CHECKPOINT_FILTER, filter.lines, reference_filter_bytes(&filter), 0);
    write_block(writing, CHECKPOINT_END, NULL, 0, count);
    (void)close(writing->fd);
    free(writing);
    reference_filter_deinit(&filter);
}

/* --- The archive. --- */

void data_dir_archive(struct data_dir *dir, const struct order_record *orders, size_t count) {
    static const struct archive_options options = {.cache_mb = 1, .write_buffer_mb = 1};
    static const _Atomic uint64_t expired_before_tick;
    char path[PATH_MAX];
    struct fault fault;
    path_of(dir, "archive", path);
    struct rocksdb_handle *handle =
        rocksdb_handle_open(path, &options, &expired_before_tick, false, &fault);
    MUST(handle != NULL);
    MUST(count == 0 || rocksdb_handle_put(handle, orders, count, &fault));
    rocksdb_handle_close(handle);
}

/** Changes one key of a family behind the adapter's back. @param value NULL: deletes it. */
static void change_key(struct data_dir *dir, enum data_dir_family family, const char *key,
                       size_t key_size, const void *value, size_t size) {
    static const char *const names[] = {"default", "references"};
    char path[PATH_MAX];
    char *error = NULL;
    rocksdb_column_family_handle_t *families[2];
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_writeoptions_t *writing = rocksdb_writeoptions_create();
    const rocksdb_options_t *const both[] = {options, options};
    path_of(dir, "archive", path);
    rocksdb_t *db = rocksdb_open_column_families(options, path, 2, names, both, families, &error);
    MUST(error == NULL);
    if (value == NULL) {
        rocksdb_delete_cf(db, writing, families[family], key, key_size, &error);
    } else {
        rocksdb_put_cf(db, writing, families[family], key, key_size, value, size, &error);
    }
    MUST(error == NULL);
    rocksdb_column_family_handle_destroy(families[0]);
    rocksdb_column_family_handle_destroy(families[1]);
    rocksdb_close(db);
    rocksdb_writeoptions_destroy(writing);
    rocksdb_options_destroy(options);
}

void data_dir_forget(struct data_dir *dir, enum data_dir_family family,
                     const struct order_record *order) {
    char key[16];
    bytes_store_u64(key, __builtin_bswap64(order_record_reference_hash(order)));
    bytes_store_u64(key + 8, __builtin_bswap64(order->order_id));
    bool reference = family == DATA_DIR_REFERENCES;
    change_key(dir, family, reference ? key : key + 8, reference ? 16 : 8, NULL, 0);
}

void data_dir_store(struct data_dir *dir, uint64_t order_id, const void *bytes, size_t size) {
    char key[8];
    bytes_store_u64(key, __builtin_bswap64(order_id));
    change_key(dir, DATA_DIR_ORDERS, key, sizeof(key), bytes, size);
}

/* --- Damage. --- */

void data_dir_flip(struct data_dir *dir, const char *file, uint64_t offset) {
    char byte;
    int fd = open_file(dir, file, O_RDWR);
    MUST(pread(fd, &byte, 1, (off_t)offset) == 1);
    byte ^= 0x10;
    write_at(fd, &byte, 1, offset);
    (void)close(fd);
}

void data_dir_delete(struct data_dir *dir, const char *file) {
    char path[PATH_MAX];
    path_of(dir, file, path);
    MUST(unlink(path) == 0);
}

/* --- Orders. --- */

struct order_record data_dir_order(const struct data_dir *dir, uint64_t number) {
    struct order_record order = {
        .amount = 100 + number,
        .version = 1,
        .status = ORDER_STATUS_PENDING,
        .payment_type = ORDER_PAYMENT_BANK,
        .format = ORDER_RECORD_FORMAT,
        .created_at_us = dir->time_us,
        .updated_at_us = dir->time_us,
        .currency = "EUR",
        .partner_code = "partner",
    };
    (void)snprintf(order.partner_order_id, sizeof(order.partner_order_id), "%llu",
                   (unsigned long long)number);
    order.order_id = order_id_encode((struct order_id_parts){
        .tick = order_tick_from_us(dir->time_us),
        .slot = order_slot_from_hash(order_record_reference_hash(&order)),
        .sequence = (uint32_t)number % ORDER_SEQUENCE_COUNT,
    });
    order_record_seal(&order);
    return order;
}

struct order_record data_dir_change(const struct data_dir *dir, const struct order_record *order,
                                    enum order_status status) {
    struct order_record changed = *order;
    changed.version++;
    changed.status = (uint8_t)status;
    changed.updated_at_us = dir->time_us;
    order_record_seal(&changed);
    return changed;
}
