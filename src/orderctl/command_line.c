#include "orderctl/command_line.h"

#include <assert.h>

#define TIMEOUT_MS_MIN 1
#define TIMEOUT_MS_MAX 86400000
#define TIMEOUT_MS_DEFAULT 30000
#define HELP_COLUMN 28
#define OVERVIEW_COLUMN 37

static const struct command_option global_options[GLOBAL_COUNT] = {
    [GLOBAL_SERVER] = {"server", "URL", OPTION_TEXT, false, 0, 0, 0,
                       "Where orderd answers ($ORDERD_SERVER, else http://127.0.0.1:8080)"},
    [GLOBAL_TIMEOUT] = {"timeout", "SECONDS", OPTION_SECONDS, false, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX,
                        TIMEOUT_MS_DEFAULT, "How long an answer may take (30)"},
    [GLOBAL_JSON] = {"json", NULL, OPTION_FLAG, false, 0, 0, 0,
                     "Write JSON: one document, or one a line where it streams"},
    [GLOBAL_HELP] = {"help", NULL, OPTION_FLAG, false, 0, 0, 0, "Show this help"},
};

/* --- Values. --- */

/** Reads digits with up to `decimals` digits behind a point, times 10 to the `decimals`. */
static bool parse_decimal(const char *text, unsigned decimals, uint64_t *value) {
    bool point = false;
    unsigned behind = 0;
    size_t digits = 0;
    *value = 0;
    for (const char *at = text; *at != 0; at++) {
        if (*at == '.' && decimals > 0 && !point && digits > 0) {
            point = true;
            continue;
        }
        uint64_t digit = (uint64_t)(unsigned char)*at - '0';
        if (digit > 9 || (point && ++behind > decimals) ||
            __builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, digit, value)) {
            return false;
        }
        digits++;
    }
    for (; behind < decimals; behind++) {
        if (__builtin_mul_overflow(*value, 10, value)) {
            return false;
        }
    }
    return digits > 0;
}

static bool is_integer(const char *text) {
    size_t digits = strspn(text + (*text == '-' ? 1 : 0), "0123456789");
    return digits > 0 && strlen(text) == digits + (*text == '-' ? 1 : 0);
}

static bool expect(const struct command_option *option, const char *text, struct fault *fault) {
    switch (option->kind) {
    case OPTION_FLAG:
        fault_set(fault, "--%s takes no value", option->name);
        break;
    case OPTION_TEXT:
        fault_set(fault, "--%s: expected a text that is not empty", option->name);
        break;
    case OPTION_INTEGER:
        fault_set(fault, "--%s: expected a whole number, not \"%s\"", option->name, text);
        break;
    case OPTION_NUMBER:
        fault_set(fault, "--%s: expected a number from %llu to %llu, not \"%s\"", option->name,
                  (unsigned long long)option->minimum, (unsigned long long)option->maximum, text);
        break;
    case OPTION_SECONDS:
        fault_set(fault, "--%s: expected seconds from %g to %g, not \"%s\"", option->name,
                  (double)option->minimum / 1000, (double)option->maximum / 1000, text);
        break;
    }
    return false;
}

static bool read_value(const struct command_option *option, const char *text,
                       struct option_value *value, struct fault *fault) {
    uint64_t number = 0;
    bool good = true;
    switch (option->kind) {
    case OPTION_FLAG:
        break;
    case OPTION_TEXT:
        good = *text != 0;
        break;
    case OPTION_INTEGER:
        good = is_integer(text);
        break;
    case OPTION_NUMBER:
    case OPTION_SECONDS:
        good = parse_decimal(text, option->kind == OPTION_SECONDS ? 3 : 0, &number) &&
               number >= option->minimum && number <= option->maximum;
        break;
    }
    if (!good) {
        return expect(option, text, fault);
    }
    *value = (struct option_value){.given = true, .text = text, .number = number};
    return true;
}

/* --- Arguments. --- */

const struct command *command_find(const struct command *commands, size_t command_count,
                                   const char *name) {
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

/** The option that is called `name`, and where its value goes; NULL where there is none. */
static const struct command_option *find_option(struct command_line *line, struct slice name,
                                                struct option_value **value) {
    for (size_t i = 0; i < GLOBAL_COUNT; i++) {
        if (slice_equal(slice_from_text(global_options[i].name), name)) {
            *value = &line->global[i];
            return &global_options[i];
        }
    }
    for (size_t i = 0; line->command != NULL && i < line->command->option_count; i++) {
        if (slice_equal(slice_from_text(line->command->options[i].name), name)) {
            *value = &line->options[i];
            return &line->command->options[i];
        }
    }
    return NULL;
}

/** Reads one option, and the argument behind it where that is its value. */
static bool read_option(struct command_line *line, const char *argument, const char *next,
                        bool *took_next, struct fault *fault) {
    const char *name = argument + 2;
    const char *equals = strchr(name, '=');
    size_t size = equals == NULL ? strlen(name) : (size_t)(equals - name);
    struct option_value *value;
    const struct command_option *option = find_option(line, (struct slice){name, size}, &value);
    *took_next = false;
    if (option == NULL) {
        fault_set(fault, "no such option: --%.*s", (int)bytes_min_size(size, 80), name);
        return false;
    }
    if (value->given) {
        fault_set(fault, "--%s is given twice", option->name);
        return false;
    }
    if (option->kind == OPTION_FLAG) {
        return equals == NULL ? read_value(option, "", value, fault) : expect(option, "", fault);
    }
    if (equals != NULL) {
        return read_value(option, equals + 1, value, fault);
    }
    if (next == NULL) {
        fault_set(fault, "--%s needs a value: %s", option->name, option->value_name);
        return false;
    }
    *took_next = true;
    return read_value(option, next, value, fault);
}

static bool read_positional(struct command_line *line, const char *argument, struct fault *fault) {
    const struct command *command = line->command;
    if (line->positional_count == command->positional_max) {
        fault_set(fault, "%s: what is \"%.80s\"? expected: %s %s", command->name, argument,
                  command->name, command->positionals);
        return false;
    }
    line->positionals[line->positional_count++] = argument;
    return true;
}

/** The command is the first argument that is neither an option nor a global option's value. */
static bool find_command(struct command_line *line, const struct command *commands,
                         size_t command_count, int argument_count, char **arguments, int *place,
                         struct fault *fault) {
    struct command_line before = {.command = NULL};
    for (int i = 0; i < argument_count; i++) {
        bool took_next;
        if (strncmp(arguments[i], "--", 2) != 0) {
            line->command = command_find(commands, command_count, arguments[i]);
            *place = i;
            if (line->command == NULL) {
                fault_set(fault, "no such command: %.80s", arguments[i]);
            }
            return line->command != NULL;
        }
        if (!read_option(&before, arguments[i], i + 1 < argument_count ? arguments[i + 1] : NULL,
                         &took_next, fault)) {
            return false;
        }
        i += took_next ? 1 : 0;
    }
    *place = argument_count;
    return true;
}

static void set_defaults(struct command_line *line) {
    for (size_t i = 0; i < GLOBAL_COUNT; i++) {
        line->global[i].number = global_options[i].otherwise;
    }
    for (size_t i = 0; line->command != NULL && i < line->command->option_count; i++) {
        line->options[i].number = line->command->options[i].otherwise;
    }
}

static bool is_complete(const struct command_line *line, struct fault *fault) {
    const struct command *command = line->command;
    if (command == NULL || line->global[GLOBAL_HELP].given) {
        return true;
    }
    if (line->positional_count < command->positional_min) {
        fault_set(fault, "%s: expected: %s %s", command->name, command->name, command->positionals);
        return false;
    }
    for (size_t i = 0; i < command->option_count; i++) {
        if (command->options[i].required && !line->options[i].given) {
            fault_set(fault, "%s: --%s %s is missing", command->name, command->options[i].name,
                      command->options[i].value_name);
            return false;
        }
    }
    return true;
}

bool command_line_read(struct command_line *line, const struct command *commands,
                       size_t command_count, int argument_count, char **arguments,
                       struct fault *fault) {
    int place;
    bool options_end = false;
    *line = (struct command_line){.command = NULL};
    if (!find_command(line, commands, command_count, argument_count, arguments, &place, fault)) {
        return false;
    }
    assert(line->command == NULL || (line->command->option_count <= COMMAND_OPTIONS_MAX &&
                                     line->command->positional_max <= COMMAND_POSITIONALS_MAX));
    set_defaults(line);
    for (int i = 0; i < argument_count; i++) {
        const char *next = i + 1 < argument_count ? arguments[i + 1] : NULL;
        bool took_next = false;
        if (i == place) {
            continue;
        }
        if (!options_end && strcmp(arguments[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && strncmp(arguments[i], "--", 2) == 0) {
            if (!read_option(line, arguments[i], next, &took_next, fault)) {
                return false;
            }
        } else if (!read_positional(line, arguments[i], fault)) {
            return false;
        }
        i += took_next ? 1 : 0;
    }
    return is_complete(line, fault);
}

/* --- Help. --- */

static void write_option(const struct command_option *option, FILE *out) {
    char left[HELP_COLUMN * 2];
    (void)snprintf(left, sizeof(left), "  --%s%s%s", option->name,
                   option->value_name == NULL ? "" : " ",
                   option->value_name == NULL ? "" : option->value_name);
    if (strlen(left) < HELP_COLUMN) {
        fprintf(out, "%-*s%s\n", HELP_COLUMN, left, option->help);
    } else {
        fprintf(out, "%s\n%*s%s\n", left, HELP_COLUMN, "", option->help);
    }
}

void command_write_help(const struct command *command, FILE *out) {
    fprintf(out, "orderctl %s%s%s", command->name, *command->positionals == 0 ? "" : " ",
            command->positionals);
    for (size_t i = 0; i < command->option_count; i++) {
        const struct command_option *option = &command->options[i];
        if (option->required) {
            fprintf(out, " --%s %s", option->name, option->value_name);
        }
    }
    fprintf(out, " [OPTION]...\n\n%s.\n", command->summary);
    if (command->details != NULL) {
        fprintf(out, "\n%s\n", command->details);
    }
    fprintf(out, "\nOptions:\n");
    for (size_t i = 0; i < command->option_count; i++) {
        write_option(&command->options[i], out);
    }
    for (size_t i = 0; i < GLOBAL_COUNT; i++) {
        write_option(&global_options[i], out);
    }
}

void command_write_overview(const struct command *commands, size_t command_count, FILE *out) {
    fprintf(out, "orderctl COMMAND ... [--server URL] [--timeout SECONDS] [--json]\n\n"
                 "Commands:\n");
    for (size_t i = 0; i < command_count; i++) {
        char left[HELP_COLUMN * 3];
        (void)snprintf(left, sizeof(left), "  %s %s", commands[i].name, commands[i].positionals);
        fprintf(out, "%-*s %s\n", OVERVIEW_COLUMN, left, commands[i].summary);
    }
    fprintf(out, "\n`orderctl COMMAND --help` shows what a command takes. Exit status: 0 done, "
                 "1 refused by\nthe service or damage found, 2 usage, 3 cannot be reached.\n");
}
