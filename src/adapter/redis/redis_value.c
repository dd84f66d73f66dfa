#include "adapter/redis/redis_value.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

#define BLOCK_BYTES 16384
#define ALIGNMENT 16

struct redis_block {
    struct redis_block *next;
    size_t size;
    size_t used;
    _Alignas(ALIGNMENT) char data[];
};

static struct redis_block *block_create(struct redis_reader *reader, size_t size) {
    size = size < BLOCK_BYTES ? BLOCK_BYTES : size;
    if (size > REDIS_ANSWER_BYTES_MAX - reader->bytes) {
        return NULL;
    }
    struct redis_block *block = malloc(sizeof(*block) + size);
    if (block != NULL) {
        *block = (struct redis_block){.size = size};
        reader->bytes += size;
    }
    return block;
}

/** Memory for a part of the present answer; NULL where it would be too much. */
static void *take(struct redis_reader *reader, size_t size) {
    struct redis_block *block = reader->block;
    size = bytes_align_up(size, ALIGNMENT);
    if (size > block->size - block->used) {
        block->next = block_create(reader, size);
        if (block->next == NULL) {
            return NULL;
        }
        block = block->next;
        reader->block = block;
    }
    void *memory = block->data + block->used;
    block->used += size;
    return memory;
}

/** The answer is done with: all its memory at once. */
static void forget(struct redis_reader *reader) {
    struct redis_block *block = reader->first->next;
    while (block != NULL) {
        struct redis_block *next = block->next;
        free(block);
        block = next;
    }
    reader->first->next = NULL;
    reader->first->used = 0;
    reader->block = reader->first;
    reader->bytes = reader->first->size;
    reader->taken = false;
}

/** A place for the value of `task`: in its array, or one by itself. */
static struct redis_value *place(const redisReadTask *task, enum redis_kind kind) {
    struct redis_value *value;
    if (task->parent != NULL) {
        struct redis_value *array = task->parent->obj;
        value = &array->items[task->idx];
    } else {
        value = take(task->privdata, sizeof(*value));
    }
    if (value != NULL) {
        *value = (struct redis_value){.kind = kind};
    }
    return value;
}

static void *create_string(const redisReadTask *task, char *data, size_t size) {
    enum redis_kind kind = task->type == REDIS_REPLY_ERROR    ? REDIS_ERROR
                           : task->type == REDIS_REPLY_STATUS ? REDIS_STATUS
                                                              : REDIS_TEXT;
    struct redis_value *value = place(task, kind);
    if (value == NULL || size >= REDIS_ANSWER_BYTES_MAX) {
        return NULL;
    }
    char *copy = take(task->privdata, size + 1);
    if (copy == NULL) {
        return NULL;
    }
    memcpy(copy, data, size);
    copy[size] = 0;
    value->text = (struct slice){copy, size};
    return value;
}

static void *create_array(const redisReadTask *task, int count) {
    struct redis_value *value = place(task, REDIS_ARRAY);
    if (value == NULL || count < 0 ||
        (size_t)count > REDIS_ANSWER_BYTES_MAX / sizeof(struct redis_value)) {
        return NULL;
    }
    value->items = take(task->privdata, (size_t)count * sizeof(struct redis_value));
    value->count = (size_t)count;
    if (value->items == NULL) {
        return NULL;
    }
    memset(value->items, 0, (size_t)count * sizeof(struct redis_value));
    return value;
}

static void *create_integer(const redisReadTask *task, long long integer) {
    struct redis_value *value = place(task, REDIS_INTEGER);
    if (value != NULL) {
        value->integer = integer;
    }
    return value;
}

static void *create_nil(const redisReadTask *task) {
    return place(task, REDIS_NIL);
}

/** Nothing: memory goes an answer at a time. */
static void free_object(void *object) {
    (void)object;
}

bool redis_reader_init(struct redis_reader *reader) {
    static const redisReplyObjectFunctions functions = {
        .createString = create_string,
        .createArray = create_array,
        .createInteger = create_integer,
        .createNil = create_nil,
        .freeObject = free_object,
    };
    *reader = (struct redis_reader){0};
    reader->first = block_create(reader, BLOCK_BYTES);
    reader->block = reader->first;
    /* hiredis only reads them. */
    redisReader *inner = redisReaderCreateWithFunctions((redisReplyObjectFunctions *)&functions);
    reader->reader = inner;
    if (reader->first == NULL || inner == NULL) {
        redis_reader_deinit(reader);
        return false;
    }
    redisReaderSetPrivdata(inner, reader);
    return true;
}

void redis_reader_deinit(struct redis_reader *reader) {
    if (reader->first != NULL) {
        forget(reader);
        free(reader->first);
    }
    if (reader->reader != NULL) {
        redisReaderFree(reader->reader);
    }
    *reader = (struct redis_reader){0};
}

bool redis_reader_feed(struct redis_reader *reader, const char *data, size_t size) {
    redisReader *inner = reader->reader;
    return size <= REDIS_FEED_BYTES && inner->len - inner->pos <= REDIS_ANSWER_BYTES_MAX &&
           redisReaderFeed(inner, data, size) == REDIS_OK;
}

enum redis_read redis_reader_next(struct redis_reader *reader, const struct redis_value **value) {
    void *answer = NULL;
    if (reader->taken) {
        forget(reader);
    }
    if (redisReaderGetReply(reader->reader, &answer) != REDIS_OK) {
        return REDIS_READ_BROKEN;
    }
    if (answer == NULL) {
        return REDIS_READ_NONE;
    }
    *value = answer;
    reader->taken = true;
    return REDIS_READ_VALUE;
}

bool redis_value_is_error(const struct redis_value *value, const char *word) {
    size_t size = strlen(word);
    return value->kind == REDIS_ERROR && value->text.size >= size &&
           memcmp(value->text.data, word, size) == 0 &&
           (value->text.size == size || value->text.data[size] == ' ');
}
