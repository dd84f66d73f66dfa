#include "orderctl/import_batch.h"

#include <stdlib.h>

#define CODE_TOO_LARGE 413
#define CODE_UNAVAILABLE 503
#define CODE_UNKNOWN 504

bool import_batch_init(struct import_batch *batch) {
    *batch = (struct import_batch){
        .text = malloc(IMPORT_BATCH_BYTES_MAX),
        .lines = calloc(IMPORT_LINES_MAX, sizeof(struct import_line)),
    };
    return batch->text != NULL && batch->lines != NULL;
}

void import_batch_deinit(struct import_batch *batch) {
    free(batch->text);
    free(batch->lines);
    *batch = (struct import_batch){.text = NULL};
}

void import_source_release(struct import_source *source) {
    free(source->line);
    source->line = NULL;
}

/** Reads the next line; false at the end. The last one needs no line feed. */
static bool read_line(struct import_source *source) {
    if (source->line_waits) {
        return true;
    }
    ssize_t size = getline(&source->line, &source->line_capacity, source->file);
    if (size < 0) {
        source->failed = ferror(source->file) != 0;
        source->ended = true;
        return false;
    }
    source->line_size = (size_t)size;
    if (source->line_size > 0 && source->line[source->line_size - 1] == '\n') {
        source->line_size--;
    }
    if (source->line_size > 0 && source->line[source->line_size - 1] == '\r') {
        source->line_size--;
    }
    source->line_number++;
    source->line_waits = true;
    return true;
}

/** Tells of a line that is too long, as the service would. */
static void refuse_long(const struct import_source *source,
                        void (*refuse)(void *, const struct import_outcome *), void *context) {
    json_t *problem =
        json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title", "Content Too Large",
                  "status", CODE_TOO_LARGE, "detail", "the line is longer than 16 KiB");
    struct import_outcome outcome = {source->line_number, CODE_TOO_LARGE, problem};
    refuse(context, &outcome);
    json_decref(problem);
}

bool import_batch_fill(struct import_batch *batch, struct import_source *source,
                       void (*refuse)(void *, const struct import_outcome *), void *context) {
    while (batch->line_count < IMPORT_LINES_MAX && read_line(source)) {
        if (source->line_size > IMPORT_LINE_BYTES_MAX) {
            refuse_long(source, refuse, context);
            source->line_waits = false;
            continue;
        }
        if (source->line_size + 1 > IMPORT_BATCH_BYTES_MAX - batch->size) {
            break; /* the first of the next batch */
        }
        batch->lines[batch->line_count++] =
            (struct import_line){source->line_number, batch->size, source->line_size + 1};
        memcpy(batch->text + batch->size, source->line, source->line_size);
        batch->text[batch->size + source->line_size] = '\n';
        batch->size += source->line_size + 1;
        source->line_waits = false;
    }
    return batch->line_count > 0;
}

/** Keeps a line for the next try, behind those that are kept already. */
static void keep(struct import_batch *batch, size_t line, size_t *kept, size_t *kept_bytes) {
    struct import_line moved = batch->lines[line];
    memmove(batch->text + *kept_bytes, batch->text + moved.offset, moved.size);
    moved.offset = *kept_bytes;
    *kept_bytes += moved.size;
    batch->lines[(*kept)++] = moved;
}

static size_t count_lines(struct slice text) {
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++) {
        count += text.data[i] == '\n' ? 1 : 0;
    }
    return count + (text.size > 0 && text.data[text.size - 1] != '\n' ? 1 : 0);
}

bool import_batch_judge(struct import_batch *batch, struct slice answer,
                        void (*settle)(void *, const struct import_outcome *), void *context) {
    size_t kept = 0;
    size_t kept_bytes = 0;
    if (count_lines(answer) != batch->line_count) {
        return false;
    }
    const char *at = answer.data;
    const char *end = answer.data + answer.size;
    for (size_t i = 0; i < batch->line_count; i++) {
        const char *feed = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((feed == NULL ? end : feed) - at);
        json_t *said = json_loadb(at, size, 0, NULL);
        int code = (int)json_integer_value(json_object_get(said, "code"));
        if (code == CODE_UNAVAILABLE || code == CODE_UNKNOWN) {
            keep(batch, i, &kept, &kept_bytes);
        } else {
            struct import_outcome outcome = {batch->lines[i].number, code,
                                             json_object_get(said, "problem")};
            settle(context, &outcome);
        }
        json_decref(said);
        at += size + (feed == NULL ? 0 : 1);
    }
    batch->line_count = kept;
    batch->size = kept_bytes;
    return true;
}
