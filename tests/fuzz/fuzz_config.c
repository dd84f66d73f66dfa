/* Any configuration file: it is taken, and then prints as a file that says the same, or it is
 * refused with one line that names the file and one of its lines. */
#include "base/config.h"
#include "fuzz.h"

#define FILE_NAME "orderd.conf"

#define SERVER_OPTIONS(X)                                                                          \
    X(text, listen, "127.0.0.1:8080", "", start, "Address")                                        \
    X(uint64, threads, "2", "1..64", start, "Threads")                                             \
    X(flag, insecure, "no", "", start, "Any address")                                              \
    X(text, hot, "embedded", "embedded|mysql", start, "Where hot orders live")                     \
    X(secret, password, "", "", live, "Password")

struct server_options {
    SERVER_OPTIONS(CONFIG_FIELD)
};

#define SERVER_ENTRY(...) CONFIG_ENTRY_OF(struct server_options, __VA_ARGS__)
static const struct config_option server_table[] = {SERVER_OPTIONS(SERVER_ENTRY)};

/** One configuration, its only section included. */
struct holder {
    struct server_options values;
    struct config_section section;
    struct config config;
};

static void holder_init(struct holder *holder) {
    memset(holder, 0, sizeof(*holder));
    holder->section =
        (struct config_section){"server", server_table, ARRAY_COUNT(server_table), &holder->values};
    holder->config = (struct config){.sections = &holder->section, .section_count = 1};
    config_set_defaults(&holder->config);
}

static void check_message(const char *message, const uint8_t *data, size_t size) {
    unsigned long lines = 1;
    for (size_t i = 0; i < size; i++) {
        lines += data[i] == '\n' ? 1 : 0;
    }
    FUZZ_CHECK(strncmp(message, FILE_NAME ":", strlen(FILE_NAME ":")) == 0, "%s", message);
    char *end;
    unsigned long line = strtoul(message + strlen(FILE_NAME ":"), &end, 10);
    FUZZ_CHECK(line >= 1 && line <= lines, "%s", message);
    FUZZ_CHECK(strncmp(end, ": ", 2) == 0, "%s", message);
    FUZZ_CHECK(strstr(end, "expected") != NULL, "%s", message);
    FUZZ_CHECK(strchr(message, '\n') == NULL, "%s", message);
}

static void check_round_trip(const struct holder *holder) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    FUZZ_CHECK(out != NULL, "memory");
    config_print(&holder->config, out);
    (void)fclose(out);
    struct holder again;
    struct fault fault;
    holder_init(&again);
    FUZZ_CHECK(config_read_text(&again.config, "printed", (struct slice){text, size}, &fault),
               "%s in %s", fault.text, text);
    again.values.password = holder->values.password; /* never printed */
    FUZZ_CHECK(memcmp(&again.values, &holder->values, sizeof(again.values)) == 0, "%s", text);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct holder holder;
    struct fault fault = {""};
    holder_init(&holder);
    if (config_read_text(&holder.config, FILE_NAME, (struct slice){(const char *)data, size},
                         &fault)) {
        check_round_trip(&holder);
    } else {
        check_message(fault.text, data, size);
    }
    return 0;
}
