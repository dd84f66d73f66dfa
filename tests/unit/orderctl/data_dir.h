/** A data directory made frame by frame, for the tests of the offline check: what the service would
 *  write, and what it never would. Everything is written with the formats' own functions.
 *
 *  The caller owns the struct. A step that fails ends the test. */
#ifndef ORDERD_TESTS_UNIT_ORDERCTL_DATA_DIR_H
#define ORDERD_TESTS_UNIT_ORDERCTL_DATA_DIR_H

#include "order/order_id.h"
#include "order/record.h"

#include <limits.h>

#define DATA_DIR_TIME_US (ORDER_EPOCH_US + INT64_C(1000) * 86400 * 1000000)
#define DATA_DIR_SEGMENT_BYTES 262144

struct data_dir {
    char path[PATH_MAX / 2];
    int segment_fd; /* owned; -1: none is open */
    uint64_t segment;
    uint64_t offset;
    uint64_t sequence; /* of the next frame */
    uint64_t change;   /* number of the next one */
    int64_t time_us;   /* of the next frame; a second later each time */
    char *frame;       /* owned */
};

/** A new directory with a lock file and nothing else. */
void data_dir_make(struct data_dir *dir);
void data_dir_remove(struct data_dir *dir);

/** Begins a segment; frames go there from now on. */
void data_dir_begin_segment(struct data_dir *dir, uint64_t number);

/** Appends one frame: orders as they became, and orders that left. Returns its offset. */
uint64_t data_dir_append(struct data_dir *dir, const struct order_record *orders, uint32_t count,
                         const struct order_record *left, uint32_t left_count);

/** Writes a checkpoint for the frame before the next one. @param archived whose references its
 *  filter has. */
void data_dir_checkpoint(struct data_dir *dir, const struct order_record *orders, size_t count,
                         const struct order_record *archived, size_t archived_count);

/** Puts orders into the archive, with their references. */
void data_dir_archive(struct data_dir *dir, const struct order_record *orders, size_t count);

enum data_dir_family { DATA_DIR_ORDERS, DATA_DIR_REFERENCES };

/** Takes one order, or its reference, out of the archive. */
void data_dir_forget(struct data_dir *dir, enum data_dir_family family,
                     const struct order_record *order);

/** Stores any bytes under the id of an order. */
void data_dir_store(struct data_dir *dir, uint64_t order_id, const void *bytes, size_t size);

/** Turns one bit of a file. */
void data_dir_flip(struct data_dir *dir, const char *file, uint64_t offset);

void data_dir_delete(struct data_dir *dir, const char *file);

/** An order of version 1, pending, created when the next frame is written; its reference is the
 *  number, its id has the right slot. */
struct order_record data_dir_order(const struct data_dir *dir, uint64_t number);

/** The order one version later. */
struct order_record data_dir_change(const struct data_dir *dir, const struct order_record *order,
                                    enum order_status status);

#endif
