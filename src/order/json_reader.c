#include "order/json_reader.h"

#include "base/hash.h"
#include "base/utf8.h"

/* How the walk over a nested value stands: one entry a level. */
struct json_level {
    bool is_object;
    uint32_t object; /* its number */
};

static void fail(struct json_reader *reader, const char *reason) {
    if (reader->reason == NULL) {
        reader->reason = reason;
        reader->status = JSON_STATUS_MALFORMED;
        reader->finished = true;
    }
}

static int peek(const struct json_reader *reader) {
    return reader->at < reader->document.size ? (unsigned char)reader->document.data[reader->at]
                                              : -1;
}

static void skip_space(struct json_reader *reader) {
    for (;;) {
        int next = peek(reader);
        if (next != ' ' && next != '\t' && next != '\n' && next != '\r') {
            return;
        }
        reader->at++;
    }
}

static bool expect(struct json_reader *reader, char character, const char *reason) {
    if (peek(reader) != character) {
        fail(reader, reason);
        return false;
    }
    reader->at++;
    return true;
}

static int hex_digit(char character) {
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    if (character >= 'a' && character <= 'f') {
        return character - 'a' + 10;
    }
    if (character >= 'A' && character <= 'F') {
        return character - 'A' + 10;
    }
    return -1;
}

/** The four digits after `\u`, or -1. */
static int read_unit(const char *at, const char *end) {
    if (end - at < 4) {
        return -1;
    }
    int unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    return unit;
}

/** Decodes the escape at `*at`, which is past the backslash, and moves past it. Returns the code
 *  point or -1. */
static int read_escape(const char **at, const char *end) {
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    if (*at == end) {
        return -1;
    }
    char letter = *(*at)++;
    const char *found = letter == 0 ? NULL : strchr(letters, letter);
    if (found != NULL) {
        return meanings[found - letters];
    }
    int unit = letter == 'u' ? read_unit(*at, end) : -1;
    if (unit <= 0) {
        return -1; /* no escape, or an escaped NUL */
    }
    *at += 4;
    if (unit < 0xd800 || unit > 0xdfff) {
        return unit;
    }
    if (unit > 0xdbff || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u') {
        return -1;
    }
    int low = read_unit(*at + 2, end);
    if (low < 0xdc00 || low > 0xdfff) {
        return -1;
    }
    *at += 6;
    return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
}

/** Takes a string, whose opening quote is next. */
static bool take_string(struct json_reader *reader, struct slice *raw, bool *escaped) {
    const char *end = reader->document.data + reader->document.size;
    const char *at = reader->document.data + reader->at + 1;
    const char *begin = at;
    *escaped = false;
    while (at < end && *at != '"') {
        unsigned char byte = (unsigned char)*at;
        if (byte == '\\') {
            *escaped = true;
            at++;
            if (read_escape(&at, end) < 0) {
                fail(reader, "an escape that is none, NUL, or half a surrogate pair");
                return false;
            }
        } else if (byte < 0x20) {
            fail(reader, "a control character in a string");
            return false;
        } else if (byte < 0x80) {
            at++;
        } else {
            size_t length = utf8_sequence_length(at, (size_t)(end - at));
            if (length == 0) {
                fail(reader, "a byte that is no UTF-8");
                return false;
            }
            at += length;
        }
    }
    if (at == end) {
        fail(reader, "a string without an end");
        return false;
    }
    *raw = (struct slice){begin, (size_t)(at - begin)};
    reader->at = (size_t)(at + 1 - reader->document.data);
    return true;
}

static size_t take_digits(struct json_reader *reader) {
    size_t begin = reader->at;
    for (int next = peek(reader); next >= '0' && next <= '9'; next = peek(reader)) {
        reader->at++;
    }
    return reader->at - begin;
}

static bool take_number(struct json_reader *reader, struct slice *raw) {
    size_t begin = reader->at;
    int first = peek(reader);
    if (first != '-' && (first < '0' || first > '9')) {
        fail(reader, first < 0 ? "it ends where a value is expected" : "no value begins here");
        return false;
    }
    if (first == '-') {
        reader->at++;
    }
    bool leading_zero = peek(reader) == '0';
    size_t digits = take_digits(reader);
    bool valid = digits > 0 && (!leading_zero || digits == 1);
    if (valid && peek(reader) == '.') {
        reader->at++;
        valid = take_digits(reader) > 0;
    }
    if (valid && (peek(reader) == 'e' || peek(reader) == 'E')) {
        reader->at++;
        if (peek(reader) == '+' || peek(reader) == '-') {
            reader->at++;
        }
        valid = take_digits(reader) > 0;
    }
    if (!valid) {
        fail(reader, "a number that is none");
        return false;
    }
    *raw = (struct slice){reader->document.data + begin, reader->at - begin};
    return true;
}

static bool take_word(struct json_reader *reader, struct slice word, struct slice *raw) {
    size_t left = reader->document.size - reader->at;
    const char *at = reader->document.data + reader->at;
    if (left < word.size || memcmp(at, word.data, word.size) != 0) {
        fail(reader, "a value that is none");
        return false;
    }
    *raw = (struct slice){at, word.size};
    reader->at += word.size;
    return true;
}

/** Takes a value that is no container. */
static bool take_scalar(struct json_reader *reader, struct json_value *value) {
    value->escaped = false;
    switch (peek(reader)) {
    case '"':
        value->kind = JSON_KIND_STRING;
        return take_string(reader, &value->raw, &value->escaped);
    case 'n':
        value->kind = JSON_KIND_NULL;
        return take_word(reader, SLICE_LITERAL("null"), &value->raw);
    case 't':
        value->kind = JSON_KIND_BOOLEAN;
        return take_word(reader, SLICE_LITERAL("true"), &value->raw);
    case 'f':
        value->kind = JSON_KIND_BOOLEAN;
        return take_word(reader, SLICE_LITERAL("false"), &value->raw);
    default:
        value->kind = JSON_KIND_NUMBER;
        return take_number(reader, &value->raw);
    }
}

/** FNV-1a over the decoded key, so that "a" and its escaped form are the same. The object's number
 *  is mixed in at the end: as FNV's beginning it would only change what the first byte changes too,
 *  and "b" in one object would be "c" in the next. */
static uint64_t hash_key(uint32_t object, struct slice raw, bool escaped) {
    const char *at = raw.data;
    const char *end = raw.data + raw.size;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    while (at < end) {
        char bytes[4] = {*at++};
        size_t length = 1;
        if (escaped && bytes[0] == '\\') {
            length = utf8_encode((unsigned)read_escape(&at, end), bytes);
        }
        for (size_t i = 0; i < length; i++) {
            hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
        }
    }
    hash ^= hash_mix(object);
    return hash == 0 ? 1 : hash;
}

/* The set is never half full, so a walk this long through it comes by no accident (odds of about
 * e^-40). Keys that were made to collide would cost a millisecond a document. */
#define KEY_WALK_MAX 128

/** Notes a key; false, and a fault, where its object has it already. Two different keys with the
 *  same 64-bit hash are taken for one, and very many with similar hashes are refused: whoever
 *  constructs them gets an error for it. */
static bool note_key(struct json_reader *reader, uint32_t object, struct slice raw, bool escaped) {
    uint64_t hash = hash_key(object, raw, escaped);
    size_t mask = reader->key_slots - 1;
    size_t i = (hash ^ hash >> 32) & mask;
    for (size_t steps = 0; steps < KEY_WALK_MAX; steps++, i = (i + 1) & mask) {
        if (reader->keys->slots[i] == hash) {
            fail(reader, "a key that stands twice");
            return false;
        }
        if (reader->keys->slots[i] == 0) {
            reader->keys->slots[i] = hash;
            return true;
        }
    }
    fail(reader, "too many keys that are made to collide");
    return false;
}

/** Takes `"key" :` of the object with this number. */
static bool take_key(struct json_reader *reader, uint32_t object, struct slice *key,
                     bool *escaped) {
    if (peek(reader) != '"') {
        fail(reader, "a member without a key");
        return false;
    }
    if (!take_string(reader, key, escaped) || !note_key(reader, object, *key, *escaped)) {
        return false;
    }
    skip_space(reader);
    return expect(reader, ':', "a key without a colon");
}

static bool is_opening(int next) {
    return next == '{' || next == '[';
}

/** Steps into a container; takes its first key when it is an object that has one. True where a
 *  value is next, false where the container is empty (and is closed) or on a fault. */
static bool open_container(struct json_reader *reader, struct json_level *level) {
    struct slice key;
    bool escaped;
    level->is_object = peek(reader) == '{';
    level->object = reader->objects++;
    reader->at++;
    skip_space(reader);
    if (peek(reader) == (level->is_object ? '}' : ']')) {
        reader->at++;
        return false;
    }
    return !level->is_object || take_key(reader, level->object, &key, &escaped);
}

/** After a value: true where another one of the same container is next, false where the container
 *  was closed or on a fault. */
static bool continue_container(struct json_reader *reader, const struct json_level *level) {
    struct slice key;
    bool escaped;
    skip_space(reader);
    if (peek(reader) == (level->is_object ? '}' : ']')) {
        reader->at++;
        return false;
    }
    if (!expect(reader, ',', "a value that neither a comma nor an end follows")) {
        return false;
    }
    skip_space(reader);
    return !level->is_object || take_key(reader, level->object, &key, &escaped);
}

/** Takes a container whole; `outer_depth` levels are open around it. */
static bool take_container(struct json_reader *reader, unsigned outer_depth,
                           struct json_value *value) {
    struct json_level levels[JSON_DEPTH_MAX];
    unsigned depth = 0;
    size_t begin = reader->at;
    value->kind = peek(reader) == '{' ? JSON_KIND_OBJECT : JSON_KIND_ARRAY;
    value->escaped = false;
    do {
        bool value_next = false;
        skip_space(reader);
        if (is_opening(peek(reader))) {
            if (outer_depth + depth == JSON_DEPTH_MAX) {
                fail(reader, "nesting that is too deep");
                return false;
            }
            value_next = open_container(reader, &levels[depth]);
            depth += value_next ? 1 : 0;
        } else {
            struct json_value scalar;
            (void)take_scalar(reader, &scalar); /* a fault shows in `reason` */
        }
        while (reader->reason == NULL && !value_next && depth > 0) {
            value_next = continue_container(reader, &levels[depth - 1]);
            depth -= value_next ? 0 : 1;
        }
    } while (reader->reason == NULL && depth > 0);
    value->raw = (struct slice){reader->document.data + begin, reader->at - begin};
    return reader->reason == NULL;
}

static bool take_value(struct json_reader *reader, unsigned outer_depth, struct json_value *value) {
    skip_space(reader);
    return is_opening(peek(reader)) ? take_container(reader, outer_depth, value)
                                    : take_scalar(reader, value);
}

/** What may follow the document: white space. */
static void finish(struct json_reader *reader, enum json_status status) {
    skip_space(reader);
    if (reader->at < reader->document.size) {
        fail(reader, "something after the document");
        return;
    }
    reader->status = status;
    reader->finished = true;
}

void json_reader_init(struct json_reader *reader, struct slice document, struct json_keys *keys) {
    *reader = (struct json_reader){.document = document, .keys = keys, .key_slots = 16};
    if (document.size > JSON_DOCUMENT_BYTES_MAX) {
        fail(reader, "a document that is too long");
        return;
    }
    /* A key takes at least four bytes ("":), so the set is never more than half full. */
    _Static_assert(JSON_DOCUMENT_BYTES_MAX / 2 <= JSON_KEY_SLOTS, "room for every key");
    while (reader->key_slots < document.size / 2) {
        reader->key_slots *= 2;
    }
    memset(keys->slots, 0, reader->key_slots * sizeof(keys->slots[0]));
}

/** Steps into the outermost object. True where a member is next. */
static bool begin_object(struct json_reader *reader) {
    reader->started = true;
    skip_space(reader);
    if (peek(reader) != '{') {
        struct json_value value;
        if (take_value(reader, 0, &value)) {
            finish(reader, JSON_STATUS_NO_OBJECT);
        }
        return false;
    }
    reader->objects = 1;
    reader->at++;
    skip_space(reader);
    if (peek(reader) == '}') {
        reader->at++;
        finish(reader, JSON_STATUS_OK);
        return false;
    }
    return true;
}

bool json_reader_next(struct json_reader *reader, struct json_member *member) {
    if (reader->finished) {
        return false;
    }
    if (!reader->started) {
        if (!begin_object(reader)) {
            return false;
        }
    } else {
        skip_space(reader);
        if (peek(reader) == '}') {
            reader->at++;
            finish(reader, JSON_STATUS_OK);
            return false;
        }
        if (!expect(reader, ',', "a value that neither a comma nor an end follows")) {
            return false;
        }
        skip_space(reader);
    }
    return take_key(reader, 0, &member->key, &member->key_escaped) &&
           take_value(reader, 1, &member->value);
}

bool json_string_decode(struct slice raw, bool escaped, char *out, size_t capacity, size_t *size) {
    if (!escaped) {
        *size = raw.size;
        if (raw.size > capacity) {
            return false;
        }
        memcpy(out, raw.data, raw.size);
        return true;
    }
    const char *at = raw.data;
    const char *end = raw.data + raw.size;
    *size = 0;
    while (at < end) {
        char bytes[4] = {*at++};
        size_t length = 1;
        if (bytes[0] == '\\') {
            length = utf8_encode((unsigned)read_escape(&at, end), bytes);
        }
        if (length > capacity - *size) {
            return false;
        }
        memcpy(out + *size, bytes, length);
        *size += length;
    }
    return true;
}
