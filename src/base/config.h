/** Configuration: a module declares its options with an X-macro beside its code; the program
 *  composes the sections into one table, so the file, `--set`, `--print-config` and the docs
 *  cannot drift apart.
 *
 *      #define JOURNAL_OPTIONS(X)                                                              \
 *          X(uint64, segment_mb, "64", "4..4096", start, "Size of a journal segment")          \
 *          X(flag, sync, "yes", "", start, "Sync before acknowledging")
 *      struct journal_options { JOURNAL_OPTIONS(CONFIG_FIELD) };
 *      #define X(...) CONFIG_ENTRY_OF(struct journal_options, __VA_ARGS__)
 *      const struct config_option journal_option_table[] = {JOURNAL_OPTIONS(X)};
 *
 *  Several modules may declare options of one section; they stand one after the other then.
 *
 *  Kinds: `uint64` (rule: "min..max"), `flag` (yes/no; rule empty), `text` (rule empty, or the
 *  allowed words as "a|b"), `secret` (as text, never printed). The fifth column says whether a
 *  reload may change the value while the process runs (`live`) or not (`start`).
 *  One thread; a module's struct is read-only once the threads run, but for `live` options, which
 *  the owner applies through its own function. */
#ifndef ORDERD_BASE_CONFIG_H
#define ORDERD_BASE_CONFIG_H

#include "base/bytes.h"
#include "base/fault.h"

#include <stdio.h>

#define CONFIG_TEXT_MAX 256

enum config_kind { CONFIG_uint64, CONFIG_flag, CONFIG_text, CONFIG_secret };
enum config_reload { CONFIG_start, CONFIG_live };

struct config_text {
    char text[CONFIG_TEXT_MAX];
};

typedef uint64_t config_value_uint64;
typedef bool config_value_flag;
typedef struct config_text config_value_text;
typedef struct config_text config_value_secret;

struct config_option {
    enum config_kind kind;
    const char *name;
    const char *default_text;
    const char *rule;
    enum config_reload reload;
    const char *help;
    size_t offset;
};

#define CONFIG_FIELD(kind_, name_, default_, rule_, reload_, help_) config_value_##kind_ name_;
#define CONFIG_ENTRY_OF(struct_, kind_, name_, default_, rule_, reload_, help_)                    \
    {CONFIG_##kind_, #name_, default_, rule_, CONFIG_##reload_, help_, offsetof(struct_, name_)},

struct config_section {
    const char *name;
    const struct config_option *options;
    size_t option_count;
    void *values; /* the module's struct */
};

/** More options than any program has. */
#define CONFIG_OPTIONS_MAX 256

struct config {
    struct config_section *sections;
    size_t section_count;
    char file[CONFIG_TEXT_MAX]; /* that was read, cut to fit; empty: none */
    /** Where in it the options' present values stand, section by section; 0: not from there. */
    unsigned lines[CONFIG_OPTIONS_MAX];
    /** Sections that are not here are another program's: they are passed over, not refused. */
    bool skips_other_sections;
};

/** Writes every default into the modules' structs. */
void config_set_defaults(struct config *config);

/** Reads an INI file over what is there: lines of `[section]`, `key = value`, and comments, which
 *  begin with `;` or `#`, or after something else with ` ;`. Blanks around a key or a value do not
 *  count; a key that stands twice has its last value. On failure `fault` is one line: file, line,
 *  key, what was expected; the lines before it are applied. */
MUST_CHECK bool config_read_file(struct config *config, const char *path, struct fault *fault);

/** As config_read_file, from memory; `name` stands for the file in messages. */
MUST_CHECK bool config_read_text(struct config *config, const char *name, struct slice text,
                                 struct fault *fault);

/** Applies one `section.key=value`. */
MUST_CHECK bool config_set(struct config *config, const char *assignment, struct fault *fault);

/** Tells where the file sets what a combination's `fault` is about: puts file and line of the first
 *  option that the text names and the file sets before the text. */
void config_place_fault(const struct config *config, struct fault *fault);

/** Prints every option with its help, rule, unit and present value; the output is a valid file. */
void config_print(const struct config *config, FILE *out);

/** Compares two configurations of the same shape; the first option that differs and that a reload
 *  cannot change is named in `fault`. True where every difference is `live`. */
MUST_CHECK bool config_differs_only_live(const struct config *before, const struct config *after,
                                         struct fault *fault);

#endif
