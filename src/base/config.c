#include "base/config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static bool parse_uint64(const char *text, uint64_t *value) {
    if (*text < '0' || *text > '9') {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (errno != 0 || *end != 0) {
        return false;
    }
    *value = parsed;
    return true;
}

static bool in_range(uint64_t value, const char *rule) {
    char *end;
    uint64_t low = strtoull(rule, &end, 10);
    uint64_t high = strtoull(end + 2, NULL, 10); /* past ".." */
    return value >= low && value <= high;
}

static bool is_one_of(const char *word, const char *rule) {
    size_t length = strlen(word);
    for (const char *at = rule; *at != 0;) {
        size_t part = strcspn(at, "|");
        if (part == length && memcmp(at, word, length) == 0) {
            return true;
        }
        at += part + (at[part] == '|' ? 1 : 0);
    }
    return false;
}

static bool parse_flag(const char *text, bool *value) {
    if (is_one_of(text, "yes|true|on|1")) {
        *value = true;
        return true;
    }
    *value = false;
    return is_one_of(text, "no|false|off|0");
}

/** True where config_print may print the text and config_read_text then reads the same. */
static bool fits_a_line(const char *text) {
    char last = 0;
    for (const char *at = text; *at != 0; at++) {
        bool begins_comment = *at == ';' && (last == 0 || last == ' ');
        bool is_edge = *at == ' ' && (last == 0 || at[1] == 0);
        if ((unsigned char)*at < 0x20 || *at == 0x7f || begins_comment || is_edge) {
            return false;
        }
        last = *at;
    }
    return true;
}

static bool set_option(const struct config_option *option, void *values, const char *text,
                       struct fault *fault) {
    void *field = (char *)values + option->offset;
    switch (option->kind) {
    case CONFIG_uint64: {
        uint64_t value;
        if (!parse_uint64(text, &value) || !in_range(value, option->rule)) {
            fault_set(fault, "expected a whole number, %s, got \"%.80s\"", option->rule, text);
            return false;
        }
        memcpy(field, &value, sizeof(value));
        return true;
    }
    case CONFIG_flag: {
        bool value;
        if (!parse_flag(text, &value)) {
            fault_set(fault, "expected yes or no, got \"%.80s\"", text);
            return false;
        }
        memcpy(field, &value, sizeof(value));
        return true;
    }
    case CONFIG_text:
    case CONFIG_secret:
        break;
    }
    if (strlen(text) >= CONFIG_TEXT_MAX) {
        fault_set(fault, "expected at most %d characters", CONFIG_TEXT_MAX - 1);
        return false;
    }
    if (option->kind == CONFIG_text && !fits_a_line(text)) {
        fault_set(fault, "expected text without control characters, spaces at its ends or \" ;\"");
        return false;
    }
    if (*option->rule != 0 && !is_one_of(text, option->rule)) {
        fault_set(fault, "expected one of %s, got \"%.80s\"", option->rule, text);
        return false;
    }
    memset(field, 0, CONFIG_TEXT_MAX);
    memcpy(field, text, strlen(text));
    return true;
}

void config_set_defaults(struct config *config) {
    for (size_t i = 0; i < config->section_count; i++) {
        struct config_section *section = &config->sections[i];
        for (size_t j = 0; j < section->option_count; j++) {
            struct fault fault;
            if (!set_option(&section->options[j], section->values, section->options[j].default_text,
                            &fault)) {
                abort(); /* a default that its own rule refuses: a bug, seen by every test */
            }
        }
    }
}

/** @param line of the file, 0 where the value comes from elsewhere. */
static bool find_and_set(struct config *config, const char *section_name, const char *key,
                         const char *value, unsigned line, struct fault *fault) {
    size_t number = 0; /* of the section's first option */
    bool is_known = false;
    for (size_t i = 0; i < config->section_count; i++) {
        struct config_section *section = &config->sections[i];
        if (strcmp(section->name, section_name) != 0) {
            number += section->option_count;
            continue;
        }
        for (size_t j = 0; j < section->option_count; j++) {
            if (strcmp(section->options[j].name, key) == 0) {
                assert(number + j < CONFIG_OPTIONS_MAX);
                config->lines[number + j] = line;
                return set_option(&section->options[j], section->values, value, fault);
            }
        }
        is_known = true; /* another module may have declared more of it */
        number += section->option_count;
    }
    if (is_known) {
        fault_set(fault, "unknown key, expected one that --print-config lists in [%.40s]",
                  section_name);
        return false;
    }
    if (config->skips_other_sections) {
        return true;
    }
    fault_set(fault, "unknown section [%.40s], expected one that --print-config lists",
              section_name);
    return false;
}

/* Longer than any line that can be right. */
#define LINE_BYTES_MAX 1024
#define SECTION_NAME_BYTES 64

/** A file on its way through the reader. */
struct file_reader {
    struct config *config;
    const char *name;
    FILE *stream;
    unsigned line_number;
    char section[SECTION_NAME_BYTES];
    struct fault *fault;
};

static bool fail_at_line(const struct file_reader *reader, const char *expected) {
    fault_set(reader->fault, "%s:%u: expected %s", reader->name, reader->line_number, expected);
    return false;
}

/** Reads the next line without its end; `*more` is false after the last one. */
static bool read_line(struct file_reader *reader, char line[LINE_BYTES_MAX], bool *more) {
    size_t size = 0;
    int next = getc(reader->stream);
    *more = next != EOF;
    reader->line_number++;
    for (; next != EOF && next != '\n'; next = getc(reader->stream)) {
        if (next == 0 || size == LINE_BYTES_MAX - 1) {
            return fail_at_line(reader, next == 0 ? "text, not a zero byte"
                                                  : "a line of at most 1023 characters");
        }
        line[size++] = (char)next;
    }
    line[size] = 0;
    if (ferror(reader->stream) != 0) {
        fault_set_errno(reader->fault, errno, "%s: cannot be read", reader->name);
        return false;
    }
    return true;
}

static bool is_blank(char character) {
    return character == ' ' || character == '\t' || character == '\r';
}

/** Cuts the blanks at both ends off, in place. */
static char *trim(char *text) {
    while (is_blank(*text)) {
        text++;
    }
    size_t size = strlen(text);
    while (size > 0 && is_blank(text[size - 1])) {
        size--;
    }
    text[size] = 0;
    return text;
}

/** Cuts a comment off that follows something else: a semicolon after a blank. */
static void cut_comment(char *line) {
    for (size_t at = 1; line[0] != 0 && line[at] != 0; at++) {
        if (line[at] == ';' && is_blank(line[at - 1])) {
            line[at] = 0;
        }
    }
}

static bool take_section(struct file_reader *reader, const char *name) {
    size_t size = strcspn(name, "]");
    if (size == 0 || size >= sizeof(reader->section) || strcmp(name + size, "]") != 0) {
        return fail_at_line(reader, "[section]");
    }
    memcpy(reader->section, name, size);
    reader->section[size] = 0;
    return true;
}

static bool take_line(struct file_reader *reader, char *line) {
    char *begin = trim(line);
    if (*begin == 0 || *begin == ';' || *begin == '#') {
        return true;
    }
    cut_comment(begin);
    begin = trim(begin);
    if (*begin == '[') {
        return take_section(reader, begin + 1);
    }
    char *equals = strchr(begin, '=');
    if (equals == NULL || equals == begin) {
        return fail_at_line(reader, "[section], key = value or a comment");
    }
    *equals = 0;
    const char *key = trim(begin);
    struct fault reason;
    if (!find_and_set(reader->config, reader->section, key, trim(equals + 1), reader->line_number,
                      &reason)) {
        fault_set(reader->fault, "%s:%u: %.40s.%.60s: %s", reader->name, reader->line_number,
                  reader->section, key, reason.text);
        return false;
    }
    return true;
}

static bool read_stream(struct config *config, const char *name, FILE *stream,
                        struct fault *fault) {
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    struct file_reader reader = {.config = config, .name = name, .stream = stream, .fault = fault};
    (void)snprintf(config->file, sizeof(config->file), "%s", name);
    char line[LINE_BYTES_MAX];
    bool more = true;
    while (more) {
        if (!read_line(&reader, line, &more)) {
            return false;
        }
        bool marked = reader.line_number == 1 && strncmp(line, byte_order_mark, 3) == 0;
        if (!take_line(&reader, marked ? line + 3 : line)) {
            return false;
        }
    }
    return true;
}

bool config_read_file(struct config *config, const char *path, struct fault *fault) {
    FILE *stream = fopen(path, "re");
    if (stream == NULL) {
        fault_set_errno(fault, errno, "%s: cannot be opened", path);
        return false;
    }
    bool read = read_stream(config, path, stream, fault);
    (void)fclose(stream);
    return read;
}

bool config_read_text(struct config *config, const char *name, struct slice text,
                      struct fault *fault) {
    if (text.size == 0) {
        return true;
    }
    FILE *stream = fmemopen((void *)(uintptr_t)text.data, text.size, "r");
    if (stream == NULL) {
        fault_set_errno(fault, errno, "%s: cannot be read", name);
        return false;
    }
    bool read = read_stream(config, name, stream, fault);
    (void)fclose(stream);
    return read;
}

bool config_set(struct config *config, const char *assignment, struct fault *fault) {
    char section[CONFIG_TEXT_MAX];
    const char *dot = strchr(assignment, '.');
    const char *equals = strchr(assignment, '=');
    if (dot == NULL || equals == NULL || dot > equals || equals - assignment >= CONFIG_TEXT_MAX) {
        fault_set(fault, "--set %.80s: expected section.key=value", assignment);
        return false;
    }
    size_t section_size = (size_t)(dot - assignment);
    size_t key_size = (size_t)(equals - dot) - 1;
    char key[CONFIG_TEXT_MAX];
    memcpy(section, assignment, section_size);
    section[section_size] = 0;
    memcpy(key, dot + 1, key_size);
    key[key_size] = 0;
    struct fault reason;
    if (!find_and_set(config, section, key, equals + 1, 0, &reason)) {
        fault_set(fault, "--set %.40s.%.60s: %s", section, key, reason.text);
        return false;
    }
    return true;
}

void config_place_fault(const struct config *config, struct fault *fault) {
    const char *first = NULL;
    unsigned line = 0;
    const unsigned *lines = config->lines;
    for (size_t i = 0; i < config->section_count; i++) {
        const struct config_section *section = &config->sections[i];
        for (size_t j = 0; j < section->option_count; j++, lines++) {
            char name[CONFIG_TEXT_MAX];
            (void)snprintf(name, sizeof(name), "%s.%s", section->name, section->options[j].name);
            const char *found = *lines == 0 ? NULL : strstr(fault->text, name);
            if (found != NULL && (first == NULL || found < first)) {
                first = found;
                line = *lines;
            }
        }
    }
    if (first != NULL) {
        struct fault bare = *fault;
        fault_set(fault, "%s:%u: %s", config->file, line, bare.text);
    }
}

static void print_value(const struct config_option *option, const void *values, FILE *out) {
    const void *field = (const char *)values + option->offset;
    switch (option->kind) {
    case CONFIG_uint64: {
        uint64_t value;
        memcpy(&value, field, sizeof(value));
        fprintf(out, "%s = %llu\n", option->name, (unsigned long long)value);
        return;
    }
    case CONFIG_flag: {
        bool value;
        memcpy(&value, field, sizeof(value));
        fprintf(out, "%s = %s\n", option->name, value ? "yes" : "no");
        return;
    }
    case CONFIG_text:
        fprintf(out, "%s = %s\n", option->name, (const char *)field);
        return;
    case CONFIG_secret:
        fprintf(out, ";%s = %s\n", option->name,
                *(const char *)field != 0 ? "(set, not shown)" : "");
        return;
    }
}

void config_print(const struct config *config, FILE *out) {
    for (size_t i = 0; i < config->section_count; i++) {
        const struct config_section *section = &config->sections[i];
        if (i == 0 || strcmp(section->name, config->sections[i - 1].name) != 0) {
            fprintf(out, "%s[%s]\n", i == 0 ? "" : "\n", section->name);
        }
        for (size_t j = 0; j < section->option_count; j++) {
            const struct config_option *option = &section->options[j];
            fprintf(out, "; %s", option->help);
            if (*option->rule != 0) {
                fprintf(out, " (%s)", option->rule);
            }
            fprintf(out, "; default: %s%s\n",
                    *option->default_text != 0 ? option->default_text : "empty",
                    option->reload == CONFIG_live ? "; a reload applies it" : "");
            print_value(option, section->values, out);
        }
    }
}

static bool same_value(const struct config_option *option, const void *left, const void *right) {
    size_t size = option->kind == CONFIG_uint64 ? sizeof(uint64_t)
                  : option->kind == CONFIG_flag ? sizeof(bool)
                                                : CONFIG_TEXT_MAX;
    return memcmp((const char *)left + option->offset, (const char *)right + option->offset,
                  size) == 0;
}

bool config_differs_only_live(const struct config *before, const struct config *after,
                              struct fault *fault) {
    for (size_t i = 0; i < before->section_count; i++) {
        const struct config_section *section = &before->sections[i];
        for (size_t j = 0; j < section->option_count; j++) {
            const struct config_option *option = &section->options[j];
            if (option->reload == CONFIG_start &&
                !same_value(option, section->values, after->sections[i].values)) {
                fault_set(fault, "%s.%s can change only at a restart", section->name, option->name);
                return false;
            }
        }
    }
    return true;
}
