#include "adapter/embedded/archive_rocksdb_handle.h"

#include <rocksdb/c.h>
#include <stdlib.h>

#define ORDER_KEY_BYTES 8
#define REFERENCE_KEY_BYTES 16
#define MIB ((size_t)1 << 20)
#define GET_MAX 256

/* RocksDB is to write no log of its own: where a line of it could not be written, as on a full
 * disk, the next one fails an assertion in the library as it is packaged, and ends the process.
 * What goes wrong is told by the calls. This is the highest level, which no line has; it holds for
 * headers only without max_log_file_size, since the logger that rolls writes those at any level. */
#define LOG_LEVEL_HIGHEST 5

enum family { FAMILY_ORDERS, FAMILY_REFERENCES, FAMILY_COUNT };

static const char *const family_names[FAMILY_COUNT] = {"default", "references"};

struct rocksdb_handle {
    rocksdb_t *db;
    rocksdb_column_family_handle_t *families[FAMILY_COUNT];
    rocksdb_options_t *options[FAMILY_COUNT];
    rocksdb_compactionfilter_t *expiry;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *synced;
    rocksdb_readoptions_t *reading;
    rocksdb_readoptions_t *prefix_reading;
    const _Atomic uint64_t *expired_before_tick; /* borrowed */
};

/* Big-endian, so that RocksDB's order of bytes is the order of numbers. */
static void put_key(char *key, uint64_t number) {
    bytes_store_u64(key, __builtin_bswap64(number));
}

static uint64_t get_key(const char *key) {
    return __builtin_bswap64(bytes_load_u64(key));
}

/** Takes RocksDB's error text over; true where there was none. */
static bool succeeded(char *error, const char *what, struct fault *fault) {
    if (error == NULL) {
        return true;
    }
    fault_set(fault, "RocksDB: %s: %s", what, error);
    rocksdb_free(error);
    return false;
}

/** Drops a reference whose order is out of the idempotency window. @thread RocksDB's. */
static unsigned char drop_expired(void *state, int level, const char *key, size_t key_length,
                                  const char *value, size_t value_length, char **new_value,
                                  size_t *new_value_length, unsigned char *value_changed) {
    const struct rocksdb_handle *handle = state;
    (void)level;
    (void)value;
    (void)value_length;
    (void)new_value;
    (void)new_value_length;
    *value_changed = 0;
    uint64_t oldest = atomic_load_explicit(handle->expired_before_tick, memory_order_relaxed);
    return key_length == REFERENCE_KEY_BYTES &&
           order_id_tick(get_key(key + ORDER_KEY_BYTES)) < oldest;
}

static void keep_state(void *state) {
    (void)state;
}

static const char *expiry_name(void *state) {
    (void)state;
    return "orderd.references.expiry";
}

static rocksdb_options_t *make_options(struct rocksdb_handle *handle,
                                       const struct archive_options *options, enum family family,
                                       struct fault *fault) {
    rocksdb_options_t *base = rocksdb_options_create();
    rocksdb_options_t *made = rocksdb_options_create();
    char *error = NULL;
    /* Nothing is reserved on disk ahead of need. References are looked at once a day even where
     * nothing changes, so that expired ones go. */
    rocksdb_get_options_from_string(base,
                                    family == FAMILY_REFERENCES
                                        ? "allow_fallocate=false;periodic_compaction_seconds=86400"
                                        : "allow_fallocate=false",
                                    made, &error);
    rocksdb_options_destroy(base);
    if (!succeeded(error, "options", fault)) {
        rocksdb_options_destroy(made);
        return NULL;
    }
    rocksdb_options_set_create_if_missing(made, 1);
    rocksdb_options_set_create_missing_column_families(made, 1);
    rocksdb_options_set_write_buffer_size(made, options->write_buffer_mb * MIB);
    rocksdb_options_set_max_write_buffer_number(made, 2);
    rocksdb_options_set_max_background_jobs(made, 2);
    rocksdb_options_set_max_open_files(made, 512);
    rocksdb_options_set_info_log_level(made, LOG_LEVEL_HIGHEST);
    rocksdb_options_set_keep_log_file_num(made, 1);
    rocksdb_options_set_compression(made, rocksdb_lz4_compression);
    rocksdb_options_set_paranoid_checks(made, 1);
    rocksdb_options_set_bytes_per_sync(made, MIB);
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, handle->cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_filter_policy(table,
                                                  rocksdb_filterpolicy_create_bloom_full(12));
    if (family == FAMILY_REFERENCES) {
        rocksdb_options_set_prefix_extractor(
            made, rocksdb_slicetransform_create_fixed_prefix(ORDER_KEY_BYTES));
        rocksdb_block_based_options_set_whole_key_filtering(table, 0);
        rocksdb_options_set_compaction_filter(made, handle->expiry);
    }
    rocksdb_options_set_block_based_table_factory(made, table);
    rocksdb_block_based_options_destroy(table);
    return made;
}

static bool open_database(struct rocksdb_handle *handle, const char *path,
                          const struct archive_options *options, bool read_only,
                          struct fault *fault) {
    char *error = NULL;
    for (unsigned family = 0; family < FAMILY_COUNT; family++) {
        handle->options[family] = make_options(handle, options, (enum family)family, fault);
        if (handle->options[family] == NULL) {
            return false;
        }
    }
    const rocksdb_options_t *const family_options[] = {handle->options[0], handle->options[1]};
    handle->db =
        read_only
            ? rocksdb_open_for_read_only_column_families(handle->options[0], path, FAMILY_COUNT,
                                                         family_names, family_options,
                                                         handle->families, 0, &error)
            : rocksdb_open_column_families(handle->options[0], path, FAMILY_COUNT, family_names,
                                           family_options, handle->families, &error);
    return succeeded(error, path, fault);
}

struct rocksdb_handle *rocksdb_handle_open(const char *path, const struct archive_options *options,
                                           const _Atomic uint64_t *expired_before_tick,
                                           bool read_only, struct fault *fault) {
    struct rocksdb_handle *handle = calloc(1, sizeof(*handle));
    if (handle == NULL) {
        fault_set(fault, "no memory for the archive");
        return NULL;
    }
    handle->expired_before_tick = expired_before_tick;
    handle->cache = rocksdb_cache_create_lru(options->cache_mb * MIB);
    handle->expiry = rocksdb_compactionfilter_create(handle, keep_state, drop_expired, expiry_name);
    handle->synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(handle->synced, 1);
    handle->reading = rocksdb_readoptions_create();
    handle->prefix_reading = rocksdb_readoptions_create();
    rocksdb_readoptions_set_prefix_same_as_start(handle->prefix_reading, 1);
    if (!open_database(handle, path, options, read_only, fault)) {
        rocksdb_handle_close(handle);
        return NULL;
    }
    return handle;
}

void rocksdb_handle_close(struct rocksdb_handle *handle) {
    if (handle == NULL) {
        return;
    }
    for (unsigned family = 0; family < FAMILY_COUNT; family++) {
        if (handle->families[family] != NULL) {
            rocksdb_column_family_handle_destroy(handle->families[family]);
        }
    }
    if (handle->db != NULL) {
        rocksdb_close(handle->db);
    }
    for (unsigned family = 0; family < FAMILY_COUNT; family++) {
        if (handle->options[family] != NULL) {
            rocksdb_options_destroy(handle->options[family]);
        }
    }
    rocksdb_compactionfilter_destroy(handle->expiry);
    rocksdb_cache_destroy(handle->cache);
    rocksdb_writeoptions_destroy(handle->synced);
    rocksdb_readoptions_destroy(handle->reading);
    rocksdb_readoptions_destroy(handle->prefix_reading);
    free(handle);
}

bool rocksdb_handle_put(struct rocksdb_handle *handle, const struct order_record *orders,
                        size_t count, struct fault *fault) {
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    for (size_t i = 0; i < count; i++) {
        char key[REFERENCE_KEY_BYTES];
        put_key(key, orders[i].order_id);
        rocksdb_writebatch_put_cf(batch, handle->families[FAMILY_ORDERS], key, ORDER_KEY_BYTES,
                                  (const char *)&orders[i], sizeof(orders[i]));
        put_key(key, order_record_reference_hash(&orders[i]));
        put_key(key + ORDER_KEY_BYTES, orders[i].order_id);
        rocksdb_writebatch_put_cf(batch, handle->families[FAMILY_REFERENCES], key,
                                  REFERENCE_KEY_BYTES, "", 0);
    }
    char *error = NULL;
    rocksdb_write(handle->db, handle->synced, batch, &error);
    rocksdb_writebatch_destroy(batch);
    return succeeded(error, "write", fault);
}

static enum order_result take_value(const rocksdb_pinnableslice_t *value,
                                    struct order_record *order) {
    size_t size;
    const char *bytes = rocksdb_pinnableslice_value(value, &size);
    if (bytes == NULL) {
        return ORDER_RESULT_ABSENT;
    }
    if (size != sizeof(*order)) {
        return ORDER_RESULT_BROKEN;
    }
    memcpy(order, bytes, sizeof(*order));
    return ORDER_RESULT_FOUND;
}

void rocksdb_handle_get(struct rocksdb_handle *handle, const uint64_t *order_ids, size_t count,
                        struct order_record *orders, uint8_t *results) {
    char keys[GET_MAX][ORDER_KEY_BYTES];
    const char *key_list[GET_MAX];
    size_t key_sizes[GET_MAX];
    rocksdb_pinnableslice_t *values[GET_MAX];
    char *errors[GET_MAX];
    assert(count <= GET_MAX);
    if (count == 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        put_key(keys[i], order_ids[i]);
        key_list[i] = keys[i];
        key_sizes[i] = ORDER_KEY_BYTES;
    }
    rocksdb_batched_multi_get_cf(handle->db, handle->reading, handle->families[FAMILY_ORDERS],
                                 count, key_list, key_sizes, values, errors, false);
    for (size_t i = 0; i < count; i++) {
        if (errors[i] != NULL) {
            results[i] = ORDER_RESULT_UNAVAILABLE;
            rocksdb_free(errors[i]);
        } else if (values[i] == NULL) {
            results[i] = ORDER_RESULT_ABSENT;
        } else {
            results[i] = (uint8_t)take_value(values[i], &orders[i]);
        }
        if (values[i] != NULL) {
            rocksdb_pinnableslice_destroy(values[i]);
        }
    }
}

bool rocksdb_handle_find(struct rocksdb_handle *handle, uint64_t reference_hash,
                         bool (*visit)(void *, uint64_t), void *context) {
    char prefix[ORDER_KEY_BYTES];
    char *error = NULL;
    bool ended = false;
    put_key(prefix, reference_hash);
    rocksdb_iterator_t *iterator = rocksdb_create_iterator_cf(handle->db, handle->prefix_reading,
                                                              handle->families[FAMILY_REFERENCES]);
    for (rocksdb_iter_seek(iterator, prefix, sizeof(prefix));
         !ended && rocksdb_iter_valid(iterator) != 0; rocksdb_iter_next(iterator)) {
        size_t size;
        const char *key = rocksdb_iter_key(iterator, &size);
        if (size != REFERENCE_KEY_BYTES || memcmp(key, prefix, sizeof(prefix)) != 0) {
            break;
        }
        ended = visit(context, get_key(key + ORDER_KEY_BYTES));
    }
    rocksdb_iter_get_error(iterator, &error);
    rocksdb_iter_destroy(iterator);
    struct fault ignored;
    return succeeded(error, "search", &ignored);
}

/** Walks a whole family. @param take gets each key and value. */
static bool each(struct rocksdb_handle *handle, enum family family,
                 void (*take)(void *context, struct slice key, struct slice value), void *context,
                 struct fault *fault) {
    rocksdb_readoptions_t *whole = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(whole, 1);
    rocksdb_readoptions_set_fill_cache(whole, 0);
    rocksdb_iterator_t *iterator =
        rocksdb_create_iterator_cf(handle->db, whole, handle->families[family]);
    for (rocksdb_iter_seek_to_first(iterator); rocksdb_iter_valid(iterator) != 0;
         rocksdb_iter_next(iterator)) {
        struct slice key;
        struct slice value;
        key.data = rocksdb_iter_key(iterator, &key.size);
        value.data = rocksdb_iter_value(iterator, &value.size);
        take(context, key, value);
    }
    char *error = NULL;
    rocksdb_iter_get_error(iterator, &error);
    rocksdb_iter_destroy(iterator);
    rocksdb_readoptions_destroy(whole);
    return succeeded(error, "scan", fault);
}

struct each_reference {
    void (*visit)(void *context, uint64_t reference_hash, uint64_t order_id);
    void *context;
};

static void take_reference(void *context, struct slice key, struct slice value) {
    struct each_reference *each_reference = context;
    (void)value;
    if (key.size == REFERENCE_KEY_BYTES) {
        each_reference->visit(each_reference->context, get_key(key.data),
                              get_key(key.data + ORDER_KEY_BYTES));
    }
}

bool rocksdb_handle_each_reference(struct rocksdb_handle *handle,
                                   void (*visit)(void *, uint64_t, uint64_t), void *context,
                                   struct fault *fault) {
    struct each_reference each_reference = {visit, context};
    return each(handle, FAMILY_REFERENCES, take_reference, &each_reference, fault);
}

struct each_order {
    void (*visit)(void *context, uint64_t order_id, const struct order_record *order);
    void *context;
};

static void take_order(void *context, struct slice key, struct slice value) {
    struct each_order *each_order = context;
    struct order_record order;
    if (key.size != ORDER_KEY_BYTES) {
        return;
    }
    bool whole = value.size == sizeof(order);
    if (whole) {
        memcpy(&order, value.data, sizeof(order));
    }
    each_order->visit(each_order->context, get_key(key.data), whole ? &order : NULL);
}

bool rocksdb_handle_each_order(struct rocksdb_handle *handle,
                               void (*visit)(void *, uint64_t, const struct order_record *),
                               void *context, struct fault *fault) {
    struct each_order each_order = {visit, context};
    return each(handle, FAMILY_ORDERS, take_order, &each_order, fault);
}
