/** One batch of `orderctl import`: lines of an NDJSON file on their way to the service, and what
 *  the service said to each.
 *
 *  A batch is filled from the file, sent, and judged by its answer; lines that the service could
 *  not take at that moment stay in it, to be sent again. Owned by the command; one thread. */
#ifndef ORDERD_ORDERCTL_IMPORT_BATCH_H
#define ORDERD_ORDERCTL_IMPORT_BATCH_H

#include "base/bytes.h"

#include <jansson.h>
#include <stdio.h>

#define IMPORT_LINES_MAX 1000

/** The service takes 1 MiB in a batch and 16 KiB in a line, its end not counted. */
#define IMPORT_BATCH_BYTES_MAX ((size_t)1 << 20)
#define IMPORT_LINE_BYTES_MAX ((size_t)16 << 10)

/** The file that is read, and how far. */
struct import_source {
    FILE *file;
    uint64_t line_number; /* of the line that was read last */
    char *line;           /* owned: a line that was read and has no place yet */
    size_t line_capacity;
    size_t line_size; /* without its line feed, and a carriage return before it */
    bool line_waits;
    bool ended;
    bool failed; /* the file cannot be read */
};

struct import_line {
    uint64_t number;
    size_t offset;
    size_t size; /* with its line feed */
};

struct import_batch {
    char *text; /* owned */
    size_t size;
    struct import_line *lines; /* owned */
    size_t line_count;
};

/** What became of one line. */
struct import_outcome {
    uint64_t line_number;
    int code;        /* as of the API; 0: the service's answer has no such line */
    json_t *problem; /* borrowed; NULL where there is none */
};

MUST_CHECK bool import_batch_init(struct import_batch *batch);
void import_batch_deinit(struct import_batch *batch);

/** Fills an empty batch. A line that is too long for the service is not sent: `refuse` gets it with
 *  code 413. False when the source has nothing more. */
MUST_CHECK bool import_batch_fill(struct import_batch *batch, struct import_source *source,
                                  void (*refuse)(void *context,
                                                 const struct import_outcome *outcome),
                                  void *context);
void import_source_release(struct import_source *source);

/** Judges each line by the answer's lines. `settle` gets every line that is through; those of 503
 *  and 504 stay in the batch. False where the answer is not one line for each. */
MUST_CHECK bool import_batch_judge(struct import_batch *batch, struct slice answer,
                                   void (*settle)(void *context,
                                                  const struct import_outcome *outcome),
                                   void *context);

#endif
