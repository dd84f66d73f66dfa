/** The parser of RESP commands (the Redis serialization protocol, versions 2 and 3): arrays of bulk
 *  strings, and inline commands, which are words on a line. Strict: lengths are plain decimal
 *  numbers within the limits below, lines end with CR LF (an inline one with LF alone too), and an
 *  inline line is text.
 *
 *  The parser goes on where it stopped when more bytes are there, so a command that comes byte by
 *  byte costs no more than one that comes at once. It copies nothing and keeps no list of the
 *  arguments: a command is the slice of its bytes, and resp_arguments_next walks over them.
 *  Pure but for the parser's state, which belongs to one connection. */
#ifndef ORDERD_NET_RESP_PARSER_H
#define ORDERD_NET_RESP_PARSER_H

#include "base/bytes.h"

/** Arguments of a command, its name counted. */
#define RESP_ARGUMENTS_MAX 16384

/** Bytes of one argument. */
#define RESP_ARGUMENT_BYTES_MAX 65536

/** Bytes of an inline command, its line end counted. */
#define RESP_INLINE_BYTES_MAX 4096

/** Walks over the arguments of a command. */
struct resp_arguments {
    struct slice rest;
    bool is_inline;
};

/** One whole command. The slices point into the input. */
struct resp_command {
    struct slice text;       /* all of its bytes */
    uint32_t argument_count; /* its name counted; 0: an empty one, to be passed over */
    struct slice name;
    struct resp_arguments arguments; /* behind the name */
};

enum resp_parse {
    RESP_PARSE_DONE,
    RESP_PARSE_MORE,   /* what is there is the beginning of a command */
    RESP_PARSE_REFUSED /* it is none: `refusal` says why; nothing after it can be understood */
};

/** Zeroed before each command. */
struct resp_parser {
    uint32_t at;             /* bytes that are understood */
    uint32_t argument_count; /* 0: the array's head was not read yet */
    uint32_t arguments_left;
    uint32_t name_at;
    uint32_t name_size;
    const char *refusal;
};

/** Looks at the command at the beginning of `data`, which is what the calls before saw and what
 *  came since, wherever it lies now. */
MUST_CHECK enum resp_parse resp_parser_run(struct resp_parser *parser, const char *data,
                                           size_t size, struct resp_command *command);

/** The next argument; false where there is none left. */
MUST_CHECK bool resp_arguments_next(struct resp_arguments *arguments, struct slice *argument);

#endif
