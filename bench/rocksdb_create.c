/** The peer of durable creates: RocksDB, written in synced batches of orders as orderd's store
 *  writes its frames. It is spared what orderd does beside: no unique references, no ids, no
 *  network.
 *
 *  Usage: rocksdb_create DIRECTORY BATCH SECONDS
 *  Prints one JSON object, as `orderctl bench --json` does. Reads a sample back and fails where one
 *  is not as it was written. */
#include "order/record.h"

#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SAMPLES 1000
#define REFERENCE_BYTES (ORDER_PARTNER_CODE_BYTES + ORDER_PARTNER_ORDER_ID_BYTES)
#define BLOOM_BITS 10

struct peer {
    rocksdb_t *database;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    bool unique;
};

static double now_seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/** True where there was no error; else it is printed. */
static bool is_well(char *error) {
    if (error != NULL) {
        (void)fprintf(stderr, "rocksdb_create: %s\n", error);
        rocksdb_free(error);
    }
    return error == NULL;
}

static rocksdb_t *open_database(const char *directory) {
    char *error = NULL;
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_error_if_exists(options, 1);
    rocksdb_options_set_compression(options, rocksdb_no_compression);
    rocksdb_options_set_write_buffer_size(options, (size_t)256 << 20);
    rocksdb_options_increase_parallelism(options, 2);
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_filter_policy(table,
                                                  rocksdb_filterpolicy_create_bloom(BLOOM_BITS));
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_t *database = rocksdb_open(options, directory, &error);
    rocksdb_block_based_options_destroy(table);
    rocksdb_options_destroy(options);
    return is_well(error) ? database : NULL;
}

static void make_order(struct order_record *order, uint64_t number) {
    memset(order, 0, sizeof(*order));
    order->order_id = number;
    order->amount = 1000 + number % 1000;
    order->version = 1;
    order->status = 1;
    order->payment_type = ORDER_PAYMENT_BANK;
    order->format = ORDER_RECORD_FORMAT;
    memcpy(order->currency, "VND", 3);
    memcpy(order->partner_code, "bench", 5);
    (void)snprintf(order->partner_order_id, sizeof(order->partner_order_id), "%016llx",
                   (unsigned long long)number);
    order_record_seal(order);
}

/** Ids rise, and RocksDB's order is that of bytes. */
static uint64_t key_of(uint64_t number) {
    return __builtin_bswap64(number);
}

/** Adds the order's reference, which nobody has yet. False where somebody has. */
static bool add_reference(struct peer *peer, rocksdb_writebatch_t *batch,
                          const struct order_record *order, uint64_t key) {
    char reference[REFERENCE_BYTES];
    size_t size = 0;
    char *error = NULL;
    memcpy(reference, order->partner_code, ORDER_PARTNER_CODE_BYTES);
    memcpy(reference + ORDER_PARTNER_CODE_BYTES, order->partner_order_id,
           ORDER_PARTNER_ORDER_ID_BYTES);
    char *value =
        rocksdb_get(peer->database, peer->read, reference, sizeof(reference), &size, &error);
    bool fresh = is_well(error) && value == NULL;
    rocksdb_free(value);
    rocksdb_writebatch_put(batch, reference, sizeof(reference), (const char *)&key, sizeof(key));
    return fresh;
}

static bool write_batch(struct peer *peer, rocksdb_writebatch_t *batch, uint64_t first,
                        uint64_t size) {
    char *error = NULL;
    rocksdb_writebatch_clear(batch);
    for (uint64_t number = first; number < first + size; number++) {
        struct order_record order;
        uint64_t key = key_of(number);
        make_order(&order, number);
        if (peer->unique && !add_reference(peer, batch, &order, key)) {
            return false;
        }
        rocksdb_writebatch_put(batch, (const char *)&key, sizeof(key), (const char *)&order,
                               sizeof(order));
    }
    rocksdb_write(peer->database, peer->write, batch, &error);
    return is_well(error);
}

/** Writes batches until the time is up. Returns how many orders; 0 after an error. */
static uint64_t create_orders(struct peer *peer, uint64_t batch_size, double seconds,
                              double *elapsed) {
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    uint64_t count = 0;
    double begin = now_seconds();
    bool well = true;
    while (well && *elapsed < seconds) {
        well = write_batch(peer, batch, count + 1, batch_size);
        count += batch_size;
        *elapsed = now_seconds() - begin;
    }
    rocksdb_writebatch_destroy(batch);
    return well ? count : 0;
}

static bool is_there(const struct peer *peer, uint64_t number) {
    struct order_record order;
    uint64_t key = key_of(number);
    size_t size = 0;
    char *error = NULL;
    make_order(&order, number);
    char *value =
        rocksdb_get(peer->database, peer->read, (const char *)&key, sizeof(key), &size, &error);
    bool same = is_well(error) && value != NULL && size == sizeof(order) &&
                memcmp(value, &order, size) == 0;
    rocksdb_free(value);
    return same;
}

static uint64_t count_wrong(const struct peer *peer, uint64_t count) {
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        wrong += is_there(peer, 1 + i * (count - 1) / SAMPLES) ? 0 : 1;
    }
    return wrong;
}

int main(int argc, char **argv) {
    uint64_t batch_size = argc == 5 ? strtoull(argv[2], NULL, 10) : 0;
    double seconds = argc == 5 ? strtod(argv[3], NULL) : 0;
    double elapsed = 0;
    if (batch_size == 0 || seconds <= 0 ||
        (strcmp(argv[4], "puts") != 0 && strcmp(argv[4], "unique") != 0)) {
        (void)fprintf(stderr, "usage: rocksdb_create DIRECTORY BATCH SECONDS puts|unique\n");
        return 2;
    }
    struct peer peer = {
        .database = open_database(argv[1]),
        .read = rocksdb_readoptions_create(),
        .write = rocksdb_writeoptions_create(),
        .unique = strcmp(argv[4], "unique") == 0,
    };
    rocksdb_writeoptions_set_sync(peer.write, 1);
    uint64_t count =
        peer.database == NULL ? 0 : create_orders(&peer, batch_size, seconds, &elapsed);
    if (count == 0) {
        return EXIT_FAILURE;
    }
    uint64_t wrong = count_wrong(&peer, count);
    rocksdb_writeoptions_destroy(peer.write);
    rocksdb_readoptions_destroy(peer.read);
    rocksdb_close(peer.database);
    (void)printf("{\"bench\":\"rocksdb create\",\"batch\":%llu,\"ops\":%llu,\"seconds\":%.3f,"
                 "\"ops_per_s\":%.0f,\"errors\":%llu}\n",
                 (unsigned long long)batch_size, (unsigned long long)count, elapsed,
                 (double)count / elapsed, (unsigned long long)wrong);
    return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
