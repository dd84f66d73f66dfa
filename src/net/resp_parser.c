#include "net/resp_parser.h"

#include <assert.h>

/* The longest line of an array or a bulk string: its kind, a number of up to seven digits, CR LF.
 */
#define DIGITS_MAX 7

static enum resp_parse refuse(struct resp_parser *parser, const char *reason) {
    parser->refusal = reason;
    return RESP_PARSE_REFUSED;
}

/** Reads `<digits> CR LF`. DONE: `*size` bytes were read. REFUSED: it is no such line. */
static enum resp_parse read_number(const char *data, size_t available, uint32_t *number,
                                   uint32_t *size) {
    size_t digits = 0;
    uint32_t value = 0;
    while (digits < available && digits < DIGITS_MAX && data[digits] >= '0' &&
           data[digits] <= '9') {
        value = value * 10 + (uint32_t)(data[digits] - '0');
        digits++;
    }
    bool padded = digits > 1 && data[0] == '0';
    if (padded || (digits == 0 && available > 0)) {
        return RESP_PARSE_REFUSED;
    }
    if (digits == available) {
        return RESP_PARSE_MORE;
    }
    if (data[digits] != '\r' || (digits + 1 < available && data[digits + 1] != '\n')) {
        return RESP_PARSE_REFUSED;
    }
    if (digits + 1 == available) {
        return RESP_PARSE_MORE;
    }
    *number = value;
    *size = (uint32_t)digits + 2;
    return RESP_PARSE_DONE;
}

/* --- Inline commands. --- */

static bool is_blank(char character) {
    return character == ' ' || character == '\t';
}

static bool next_word(struct slice *rest, struct slice *word) {
    size_t begin = 0;
    while (begin < rest->size && is_blank(rest->data[begin])) {
        begin++;
    }
    size_t end = begin;
    while (end < rest->size && !is_blank(rest->data[end])) {
        end++;
    }
    *word = (struct slice){rest->data + begin, end - begin};
    *rest = (struct slice){rest->data + end, rest->size - end};
    return word->size > 0;
}

static bool is_text(const char *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)data[i];
        if (byte < 0x20 && byte != '\t') {
            return false;
        }
    }
    return true;
}

static void split_line(struct slice line, struct resp_command *command) {
    struct slice word;
    command->argument_count = 0;
    command->arguments = (struct resp_arguments){line, true};
    if (!next_word(&command->arguments.rest, &command->name)) {
        return;
    }
    struct slice rest = command->arguments.rest;
    do {
        command->argument_count++;
    } while (next_word(&rest, &word));
}

static enum resp_parse parse_inline(struct resp_parser *parser, const char *data, size_t size,
                                    struct resp_command *command) {
    size_t limit = bytes_min_size(size, RESP_INLINE_BYTES_MAX);
    const char *feed = memchr(data + parser->at, '\n', limit - parser->at);
    size_t line_size = feed == NULL ? limit : (size_t)(feed - data);
    bool has_return = line_size > 0 && data[line_size - 1] == '\r';
    size_t text_size = has_return ? line_size - 1 : line_size;
    if (text_size > parser->at && !is_text(data + parser->at, text_size - parser->at)) {
        return refuse(parser, "expected * or the text of an inline command");
    }
    if (feed == NULL) {
        parser->at = (uint32_t)text_size;
        return limit < RESP_INLINE_BYTES_MAX
                   ? RESP_PARSE_MORE
                   : refuse(parser, "expected an inline command of less than 4 KiB");
    }
    command->text = (struct slice){data, line_size + 1};
    split_line((struct slice){data, text_size}, command);
    return RESP_PARSE_DONE;
}

/* --- Arrays of bulk strings. --- */

static enum resp_parse parse_head(struct resp_parser *parser, const char *data, size_t size) {
    uint32_t count;
    uint32_t line_size;
    enum resp_parse parsed = read_number(data + 1, size - 1, &count, &line_size);
    if (parsed == RESP_PARSE_REFUSED || (parsed == RESP_PARSE_DONE && count > RESP_ARGUMENTS_MAX)) {
        return refuse(parser, "expected an array of up to 16384 arguments");
    }
    if (parsed == RESP_PARSE_DONE) {
        parser->at = 1 + line_size;
        parser->argument_count = count;
        parser->arguments_left = count;
    }
    return parsed;
}

/** Reads one bulk string; the parser stays before it where it is not whole. */
static enum resp_parse parse_bulk(struct resp_parser *parser, const char *data, size_t size) {
    const char *bulk = data + parser->at;
    size_t available = size - parser->at;
    uint32_t length;
    uint32_t line_size;
    if (available == 0) {
        return RESP_PARSE_MORE;
    }
    if (bulk[0] != '$') {
        return refuse(parser, "expected $ and a bulk string");
    }
    enum resp_parse parsed = read_number(bulk + 1, available - 1, &length, &line_size);
    if (parsed == RESP_PARSE_REFUSED ||
        (parsed == RESP_PARSE_DONE && length > RESP_ARGUMENT_BYTES_MAX)) {
        return refuse(parser, "expected a bulk string of up to 65536 bytes");
    }
    if (parsed == RESP_PARSE_MORE) {
        return parsed;
    }
    size_t end = 1 + (size_t)line_size + length;
    if (available < end + 2) {
        return RESP_PARSE_MORE;
    }
    if (bulk[end] != '\r' || bulk[end + 1] != '\n') {
        return refuse(parser, "expected CR LF behind a bulk string");
    }
    if (parser->arguments_left == parser->argument_count) {
        parser->name_at = parser->at + 1 + line_size;
        parser->name_size = length;
    }
    parser->arguments_left--;
    parser->at += (uint32_t)end + 2;
    return RESP_PARSE_DONE;
}

static enum resp_parse parse_array(struct resp_parser *parser, const char *data, size_t size,
                                   struct resp_command *command) {
    if (parser->at == 0) {
        enum resp_parse parsed = parse_head(parser, data, size);
        if (parsed != RESP_PARSE_DONE) {
            return parsed;
        }
    }
    while (parser->arguments_left > 0) {
        enum resp_parse parsed = parse_bulk(parser, data, size);
        if (parsed != RESP_PARSE_DONE) {
            return parsed;
        }
    }
    size_t behind_name =
        parser->argument_count == 0 ? parser->at : (size_t)parser->name_at + parser->name_size + 2;
    command->text = (struct slice){data, parser->at};
    command->argument_count = parser->argument_count;
    command->name = (struct slice){data + parser->name_at, parser->name_size};
    command->arguments = (struct resp_arguments){
        .rest = {data + behind_name, parser->at - behind_name},
    };
    return RESP_PARSE_DONE;
}

enum resp_parse resp_parser_run(struct resp_parser *parser, const char *data, size_t size,
                                struct resp_command *command) {
    assert(parser->at <= size);
    if (size == 0) {
        return RESP_PARSE_MORE;
    }
    return data[0] == '*' ? parse_array(parser, data, size, command)
                          : parse_inline(parser, data, size, command);
}

bool resp_arguments_next(struct resp_arguments *arguments, struct slice *argument) {
    struct slice *rest = &arguments->rest;
    if (arguments->is_inline) {
        return next_word(rest, argument);
    }
    if (rest->size == 0) {
        return false;
    }
    uint32_t length;
    uint32_t line_size;
    enum resp_parse parsed = read_number(rest->data + 1, rest->size - 1, &length, &line_size);
    size_t begin = 1 + (size_t)line_size;
    assert(parsed == RESP_PARSE_DONE && rest->size >= begin + length + 2); /* it was parsed */
    *argument = (struct slice){rest->data + begin, length};
    *rest = (struct slice){rest->data + begin + length + 2, rest->size - begin - length - 2};
    return true;
}
