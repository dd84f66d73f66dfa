/** The command line: each command declares its options in a table beside its code, and this module
 *  reads the arguments by it and writes the help from it, so that the two cannot drift apart.
 *
 *  Options may stand anywhere after the program's name, as `--name value` or `--name=value`; `--`
 *  ends them. The values point into the arguments, which outlive them. One thread. */
#ifndef ORDERD_ORDERCTL_COMMAND_LINE_H
#define ORDERD_ORDERCTL_COMMAND_LINE_H

#include "base/bytes.h"
#include "base/fault.h"
#include "orderctl/exit_status.h"

#include <stdio.h>

#define COMMAND_OPTIONS_MAX 32
#define COMMAND_POSITIONALS_MAX 4

enum option_kind {
    OPTION_FLAG,    /* no value */
    OPTION_TEXT,    /* any text but an empty one */
    OPTION_INTEGER, /* decimal digits, perhaps after a minus: passed on as text */
    OPTION_NUMBER,  /* a whole number from `minimum` to `maximum` */
    OPTION_SECONDS  /* as a number, with decimals; `minimum` and `maximum` in milliseconds */
};

struct command_option {
    const char *name;       /* without the dashes */
    const char *value_name; /* for the help; NULL for a flag */
    enum option_kind kind;
    bool required;
    uint64_t minimum;
    uint64_t maximum;
    uint64_t otherwise; /* a number's value where it is not given */
    const char *help;
};

struct option_value {
    bool given;
    const char *text;
    uint64_t number; /* of OPTION_SECONDS: milliseconds */
};

/** What every command takes beside its own options. */
enum global_option { GLOBAL_SERVER, GLOBAL_TIMEOUT, GLOBAL_JSON, GLOBAL_HELP, GLOBAL_COUNT };

struct session;
struct command_line;

struct command {
    const char *name;
    const char *positionals; /* for the help, as "ID STATUS" */
    const char *summary;
    const char *details; /* further lines of the help; may be NULL */
    size_t positional_min;
    size_t positional_max;
    const struct command_option *options;
    size_t option_count;
    bool offline; /* it needs no service: session->client is not set up */
    enum exit_status (*run)(struct session *session, const struct command_line *line);
};

struct command_line {
    const struct command *command; /* NULL: none was named */
    size_t positional_count;
    const char *positionals[COMMAND_POSITIONALS_MAX];
    struct option_value global[GLOBAL_COUNT];
    struct option_value options[COMMAND_OPTIONS_MAX]; /* in the order of the command's table */
};

/** Reads the arguments after the program's name. False, with one line for the user, where they are
 *  wrong. Without a command only the global options are read. With --help nothing is required. */
MUST_CHECK bool command_line_read(struct command_line *line, const struct command *commands,
                                  size_t command_count, int argument_count, char **arguments,
                                  struct fault *fault);

/** The command of that name; NULL where there is none. */
const struct command *command_find(const struct command *commands, size_t command_count,
                                   const char *name);

/** Writes the help of one command. */
void command_write_help(const struct command *command, FILE *out);

/** Writes what commands there are. */
void command_write_overview(const struct command *commands, size_t command_count, FILE *out);

static inline bool command_has(const struct command_line *line, size_t option) {
    return line->options[option].given;
}

/** NULL where it is not given. */
static inline const char *command_text(const struct command_line *line, size_t option) {
    return line->options[option].text;
}

/** The option's `otherwise` where it is not given. */
static inline uint64_t command_number(const struct command_line *line, size_t option) {
    return line->options[option].number;
}

#endif
