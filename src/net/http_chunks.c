#include "net/http_chunks.h"

#include "net/http_text.h"

#include <assert.h>

/* Leading zeros count, so a size line is bounded too. */
#define SIZE_DIGITS_MAX 16

enum chunk_state {
    CHUNK_SIZE,          /* at the first digit, or behind one */
    CHUNK_EXTENSION,     /* behind the semicolon */
    CHUNK_SIZE_LF,       /* behind the CR of the size line */
    CHUNK_DATA,          /* chunk_left bytes of data follow */
    CHUNK_DATA_CR,       /* the data is whole */
    CHUNK_DATA_LF,       /* behind its CR */
    CHUNK_TRAILER,       /* where a trailer or the last line begins */
    CHUNK_TRAILER_NAME,  /* inside a trailer's name */
    CHUNK_TRAILER_VALUE, /* behind its colon */
    CHUNK_TRAILER_LF,    /* behind its CR */
    CHUNK_LAST_LF,       /* behind the CR of the empty line that ends it all */
    CHUNK_DONE
};

void http_chunks_init(struct http_chunks *chunks, uint64_t body_bytes_max) {
    memset(chunks, 0, sizeof(*chunks));
    chunks->body_bytes_max = body_bytes_max;
    chunks->state = CHUNK_SIZE;
}

static bool refuse(struct http_chunks *chunks, unsigned status, const char *detail) {
    chunks->refusal = (struct http_refusal){status, detail};
    return false;
}

static bool is_text(char character) {
    unsigned char byte = (unsigned char)character;
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

static unsigned hex_value(char digit) {
    return digit <= '9' ? (unsigned)(digit - '0') : (unsigned)((digit | 0x20) - 'a') + 10;
}

/** One byte of a chunk's size, or the one behind it. */
static bool take_size_byte(struct http_chunks *chunks, char byte) {
    if (http_character_is(byte, HTTP_CHARACTER_HEX)) {
        if (chunks->size_digits == SIZE_DIGITS_MAX) {
            return refuse(chunks, 400, "a chunk size has too many digits");
        }
        chunks->size_digits++;
        chunks->size_so_far = chunks->size_so_far << 4 | hex_value(byte);
        return true;
    }
    if (chunks->size_digits == 0 || (byte != ';' && byte != '\r')) {
        return refuse(chunks, 400, "a chunk size is not a hexadecimal number");
    }
    if (chunks->size_so_far > chunks->body_bytes_max - chunks->body_bytes) {
        return refuse(chunks, 413, "the body is too large");
    }
    chunks->body_bytes += chunks->size_so_far;
    chunks->chunk_left = chunks->size_so_far;
    chunks->size_so_far = 0;
    chunks->size_digits = 0;
    chunks->state = byte == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
    return true;
}

static bool take_extension_byte(struct http_chunks *chunks, char byte) {
    if (byte == '\r') {
        chunks->state = CHUNK_SIZE_LF;
        return true;
    }
    if (!is_text(byte)) {
        return refuse(chunks, 400, "a control character in a chunk extension");
    }
    chunks->extension_bytes++;
    return chunks->extension_bytes <= HTTP_CHUNK_EXTENSION_BYTES_MAX ||
           refuse(chunks, 400, "the chunk extensions are too large");
}

static bool take_trailer_byte(struct http_chunks *chunks, char byte) {
    chunks->trailer_bytes++;
    if (chunks->trailer_bytes > HTTP_TRAILER_BYTES_MAX) {
        return refuse(chunks, 431, "the trailers are too large");
    }
    if (chunks->state == CHUNK_TRAILER && byte == '\r') {
        chunks->state = CHUNK_LAST_LF;
        return true;
    }
    if (chunks->state == CHUNK_TRAILER_VALUE) {
        if (byte == '\r') {
            chunks->state = CHUNK_TRAILER_LF;
            return true;
        }
        return is_text(byte) || refuse(chunks, 400, "a control character in a trailer");
    }
    if (chunks->state == CHUNK_TRAILER_NAME && byte == ':') {
        chunks->state = CHUNK_TRAILER_VALUE;
        return true;
    }
    chunks->state = CHUNK_TRAILER_NAME;
    return http_character_is(byte, HTTP_CHARACTER_TOKEN) ||
           refuse(chunks, 400, "a trailer is not a name, a colon and a value");
}

/** Goes on behind the line feed that the present state waits for. */
static bool take_line_feed(struct http_chunks *chunks, char byte) {
    if (byte != '\n') {
        return refuse(chunks, 400, "a carriage return without a line feed in a chunked body");
    }
    switch ((enum chunk_state)chunks->state) {
    case CHUNK_SIZE_LF:
        chunks->state = chunks->chunk_left == 0 ? CHUNK_TRAILER : CHUNK_DATA;
        return true;
    case CHUNK_DATA_LF:
        chunks->state = CHUNK_SIZE;
        return true;
    case CHUNK_TRAILER_LF:
        chunks->state = CHUNK_TRAILER;
        return true;
    default:
        assert(chunks->state == CHUNK_LAST_LF);
        chunks->state = CHUNK_DONE;
        return true;
    }
}

/** One byte of everything that is not data. */
static bool take_byte(struct http_chunks *chunks, char byte) {
    switch ((enum chunk_state)chunks->state) {
    case CHUNK_SIZE:
        return take_size_byte(chunks, byte);
    case CHUNK_EXTENSION:
        return take_extension_byte(chunks, byte);
    case CHUNK_DATA_CR:
        chunks->state = CHUNK_DATA_LF;
        return byte == '\r' || refuse(chunks, 400, "chunk data is longer than its size");
    case CHUNK_TRAILER:
    case CHUNK_TRAILER_NAME:
    case CHUNK_TRAILER_VALUE:
        return take_trailer_byte(chunks, byte);
    case CHUNK_SIZE_LF:
    case CHUNK_DATA_LF:
    case CHUNK_TRAILER_LF:
    case CHUNK_LAST_LF:
        return take_line_feed(chunks, byte);
    case CHUNK_DATA:
    case CHUNK_DONE:
        break; /* the caller's */
    }
    assert(false);
    return false;
}

enum http_parse http_chunks_decode(struct http_chunks *chunks, const char *from, size_t size,
                                   char *to, size_t *taken, size_t *made) {
    assert(to <= from || to >= from + size);
    size_t at = 0;
    size_t out = 0;
    while (at < size && chunks->state != CHUNK_DONE) {
        if (chunks->state != CHUNK_DATA) {
            if (!take_byte(chunks, from[at])) {
                *taken = at;
                *made = out;
                return HTTP_PARSE_REFUSED;
            }
            at++;
            continue;
        }
        size_t run = (size_t)bytes_min_u64(chunks->chunk_left, size - at);
        if (to + out != from + at) {
            memmove(to + out, from + at, run);
        }
        at += run;
        out += run;
        chunks->chunk_left -= run;
        if (chunks->chunk_left == 0) {
            chunks->state = CHUNK_DATA_CR;
        }
    }
    *taken = at;
    *made = out;
    return chunks->state == CHUNK_DONE ? HTTP_PARSE_DONE : HTTP_PARSE_MORE;
}
