#include "base/config.h"

#include <errno.h>
#include <ini.h>
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

static bool find_and_set(struct config *config, const char *section_name, const char *key,
                         const char *value, struct fault *fault) {
    for (size_t i = 0; i < config->section_count; i++) {
        struct config_section *section = &config->sections[i];
        if (strcmp(section->name, section_name) != 0) {
            continue;
        }
        for (size_t j = 0; j < section->option_count; j++) {
            if (strcmp(section->options[j].name, key) == 0) {
                return set_option(&section->options[j], section->values, value, fault);
            }
        }
        fault_set(fault, "unknown key, expected one that --print-config lists in [%.40s]",
                  section_name);
        return false;
    }
    fault_set(fault, "unknown section [%.40s], expected one that --print-config lists",
              section_name);
    return false;
}

/** What the INI reader's callbacks share: lines are counted as they are handed out. */
struct file_reader {
    struct config *config;
    const char *name;
    struct fault *fault;
    FILE *stream;
    unsigned line;
    bool failed;
};

static char *read_line(char *out, int size, void *context) {
    struct file_reader *reader = context;
    if (reader->failed) {
        return NULL;
    }
    char *line = fgets(out, size, reader->stream);
    if (line != NULL) {
        reader->line++;
    }
    return line;
}

static int take_pair(void *context, const char *section, const char *key, const char *value) {
    struct file_reader *reader = context;
    struct fault reason;
    if (!find_and_set(reader->config, section, key, value, &reason)) {
        fault_set(reader->fault, "%s:%u: %.40s.%.60s: %s", reader->name, reader->line, section, key,
                  reason.text);
        reader->failed = true;
        return 0;
    }
    return 1;
}

static bool read_stream(struct config *config, const char *name, FILE *stream,
                        struct fault *fault) {
    struct file_reader reader = {config, name, fault, stream, 0, false};
    int result = ini_parse_stream(read_line, &reader, take_pair, &reader);
    if (reader.failed) {
        return false;
    }
    if (ferror(stream)) {
        fault_set_errno(fault, errno, "%s: cannot be read", name);
        return false;
    }
    if (result != 0) {
        fault_set(fault, "%s:%d: expected \"[section]\", \"key = value\" or a comment", name,
                  result > 0 ? result : 0);
        return false;
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
    if (!find_and_set(config, section, key, equals + 1, &reason)) {
        fault_set(fault, "--set %.40s.%.60s: %s", section, key, reason.text);
        return false;
    }
    return true;
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
        fprintf(out, "%s[%s]\n", i == 0 ? "" : "\n", section->name);
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
