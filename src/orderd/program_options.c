#include "orderd/program_options.h"

#include "adapter/query_http/query_http.h"
#include "orderd/listen_address.h"

#include <getopt.h>
#include <stdlib.h>

static const struct config_option server_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct server_options, __VA_ARGS__)
    SERVER_OPTIONS(X)
#undef X
};

static const struct config_option store_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct store_options, __VA_ARGS__)
    STORE_OPTIONS(X)
#undef X
};

const char program_help[] =
    "orderd: the order service of a payment gateway\n"
    "\n"
    "Usage: orderd [--config FILE] [--set section.key=value]... [--roles a,b]\n"
    "              [--check-config] [--print-config] [--version] [--help]\n"
    "\n"
    "  --config FILE     read options from an INI file; without it the defaults hold\n"
    "  --set S.K=VALUE   set one option, after the file; may be given again\n"
    "  --roles A,B       short for --set server.roles=A,B\n"
    "  --check-config    read and judge the configuration, then exit\n"
    "  --print-config    print every option with its help, then exit; the output is a valid file\n"
    "  --version         print the version, then exit\n"
    "  --help            print this, then exit\n"
    "\n"
    "SIGTERM and SIGINT drain and exit with 0; SIGHUP reads the file again and applies what can\n"
    "change while the process runs.\n";

enum long_option {
    OPTION_CONFIG = 256,
    OPTION_SET,
    OPTION_ROLES,
    OPTION_CHECK,
    OPTION_PRINT,
    OPTION_VERSION,
    OPTION_HELP
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"set", required_argument, NULL, OPTION_SET},
    {"roles", required_argument, NULL, OPTION_ROLES},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"print-config", no_argument, NULL, OPTION_PRINT},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

/** Notes a setting: `prefix` and the value. */
static bool add_setting(struct command_line *line, const char *prefix, const char *value,
                        struct fault *fault) {
    char *setting = NULL;
    if (asprintf(&setting, "%s%s", prefix, value) < 0) {
        fault_set(fault, "no memory for the command line");
        return false;
    }
    line->settings[line->setting_count++] = setting;
    return true;
}

bool command_line_read(int argc, char **argv, struct command_line *line, struct fault *fault) {
    *line = (struct command_line){.settings = calloc((size_t)argc + 1, sizeof(char *))};
    if (line->settings == NULL) {
        fault_set(fault, "no memory for the command line");
        return false;
    }
    opterr = 0;
    for (;;) {
        int found = getopt_long(argc, argv, "", long_options, NULL);
        switch (found) {
        case -1:
            if (optind < argc) {
                fault_set(fault, "%.80s: unexpected; --help tells the usage", argv[optind]);
            }
            return optind == argc;
        case OPTION_CONFIG:
            line->config_path = optarg;
            break;
        case OPTION_SET:
            if (!add_setting(line, "", optarg, fault)) {
                return false;
            }
            break;
        case OPTION_ROLES:
            if (!add_setting(line, "server.roles=", optarg, fault)) {
                return false;
            }
            break;
        case OPTION_CHECK:
            line->check_config = true;
            break;
        case OPTION_PRINT:
            line->print_config = true;
            break;
        case OPTION_VERSION:
            line->show_version = true;
            break;
        case OPTION_HELP:
            line->show_help = true;
            break;
        default:
            fault_set(fault, "%.80s: unknown, or without its value; --help tells the usage",
                      argv[optind - 1]);
            return false;
        }
    }
}

void command_line_free(struct command_line *line) {
    for (size_t i = 0; i < line->setting_count; i++) {
        free(line->settings[i]);
    }
    free(line->settings);
}

static void compose(struct program_options *options) {
    const struct config_section sections[PROGRAM_SECTIONS] = {
        {"server", server_option_table, ARRAY_COUNT(server_option_table), &options->server},
        {"store", store_option_table, ARRAY_COUNT(store_option_table), &options->store},
        {"order", order_option_table, order_option_count, &options->order},
        {"memory", memory_option_table, memory_option_count, &options->memory},
        {"journal", journal_option_table, journal_option_count, &options->journal},
        {"archive", archive_option_table, archive_option_count, &options->archive},
        {"archive", cluster_archiver_option_table, cluster_archiver_option_count,
         &options->cluster_archiver},
        {"http", http_option_table, HTTP_OPTION_COUNT, &options->http},
        {"api", api_option_table, api_option_count, &options->api},
        {"resp", resp_option_table, RESP_OPTION_COUNT, &options->resp},
        {"lookup", lookup_option_table, lookup_option_count, &options->lookup},
        {"refresh", refresh_option_table, refresh_option_count, &options->refresh},
        {"audit", audit_option_table, audit_option_count, &options->audit},
        {"mysql", mysql_option_table, mysql_option_count, &options->mysql},
        {"binlog", binlog_option_table, binlog_option_count, &options->binlog},
        {"redis", redis_option_table, redis_option_count, &options->redis},
        {"kafka", kafka_option_table, kafka_option_count, &options->kafka},
        {"cassandra", cassandra_option_table, cassandra_option_count, &options->cassandra},
    };
    memcpy(options->sections, sections, sizeof(sections));
    options->config =
        (struct config){.sections = options->sections, .section_count = PROGRAM_SECTIONS};
}

bool program_options_load(struct program_options *options, const struct command_line *line,
                          struct fault *fault) {
    memset(options, 0, sizeof(*options));
    compose(options);
    config_set_defaults(&options->config);
    if (line->config_path != NULL &&
        !config_read_file(&options->config, line->config_path, fault)) {
        return false;
    }
    for (size_t i = 0; i < line->setting_count; i++) {
        if (!config_set(&options->config, line->settings[i], fault)) {
            return false;
        }
    }
    return true;
}

/** @param key the option that has the address. Without authentication only this machine may reach
 *  the service, unless the user says else. */
static bool check_listen(const struct program_options *options, const char *key, const char *text,
                         struct listen_address *address, struct fault *fault) {
    if (!listen_address_parse(text, address)) {
        fault_set(fault,
                  "%s: expected an IP address and a port, as 127.0.0.1:8080 or [::1]:8080, got "
                  "\"%.80s\"",
                  key, text);
        return false;
    }
    if (!address->loopback && !options->server.insecure) {
        fault_set(fault,
                  "%s: expected a loopback address, since there is no authentication, or "
                  "server.insecure = yes; got \"%.80s\"",
                  key, text);
        return false;
    }
    return true;
}

/** Both addresses, of which the second may be empty. */
static bool check_addresses(const struct program_options *options, struct fault *fault) {
    const char *http_text = options->server.listen.text;
    const char *resp_text = options->resp.listen.text;
    struct listen_address http;
    struct listen_address resp;
    if (!check_listen(options, "server.listen", http_text, &http, fault)) {
        return false;
    }
    if (resp_text[0] == 0) {
        return true;
    }
    if (!check_listen(options, "resp.listen", resp_text, &resp, fault)) {
        return false;
    }
    if (listen_address_overlaps(&http, &resp)) {
        fault_set(fault,
                  "resp.listen: expected another port than server.listen (%.80s), got \"%.80s\"",
                  http_text, resp_text);
        return false;
    }
    return true;
}

/** A look-up asks MariaDB once and Cassandra twice at most, and has to be over before its lock
 * record ends, or another process begins the same one. */
static bool check_lookup_time(const struct program_options *options, struct fault *fault) {
    uint64_t longest_ms =
        options->mysql.read_timeout_ms + 2 * options->cassandra.request_timeout_ms;
    if (longest_ms > options->redis.lock_ms) {
        fault_set(fault,
                  "redis.lock_ms: expected at least mysql.read_timeout_ms and twice "
                  "cassandra.request_timeout_ms, together %llu, got %llu",
                  (unsigned long long)longest_ms, (unsigned long long)options->redis.lock_ms);
        return false;
    }
    return true;
}

/** Judges what each server's options come to; names in them are looked up, but for those of query
 *  instances. */
static bool check_servers(const struct program_options *options, struct fault *fault) {
    struct mariadb_settings mariadb;
    struct redis_settings redis;
    struct cassandra_terms cassandra;
    struct query_http_settings instances;
    return check_lookup_time(options, fault) &&
           mariadb_settings_read(&options->mysql, getenv(MARIADB_PASSWORD_VARIABLE), &mariadb,
                                 fault) &&
           redis_settings_read(&options->redis, getenv(REDIS_PASSWORD_VARIABLE), &redis, fault) &&
           cassandra_options_read(&options->cassandra, getenv("ORDERD_CASSANDRA_PASSWORD"),
                                  &cassandra, fault) &&
           query_http_settings_read(options->audit.query_instances.text,
                                    options->audit.query_timeout_ms, &instances, fault);
}

static bool check_combinations(const struct program_options *options, struct order_terms *terms,
                               struct fault *fault) {
    if (options->server.data_dir.text[0] == 0) {
        fault_set(fault, "server.data_dir: expected the path of a directory, got \"\"");
        return false;
    }
    if (!check_addresses(options, fault) ||
        !embedded_options_check(&options->memory, &options->journal, fault)) {
        return false;
    }
    struct roles roles;
    if (!roles_parse(options->server.roles.text, &roles, fault)) {
        return false;
    }
    if (!program_options_is_cluster(options) && strcmp(options->server.roles.text, "all") != 0) {
        fault_set(fault, "server.roles: expected \"all\" with store.hot = embedded, got \"%.80s\"",
                  options->server.roles.text);
        return false;
    }
    if (program_options_is_cluster(options) && !check_servers(options, fault)) {
        return false;
    }
    return order_options_read(&options->order, terms, fault);
}

bool program_options_check(const struct program_options *options, struct order_terms *terms,
                           struct fault *fault) {
    bool possible = check_combinations(options, terms, fault);
    if (!possible) {
        config_place_fault(&options->config, fault);
    }
    return possible;
}

bool program_options_is_cluster(const struct program_options *options) {
    return strcmp(options->store.hot.text, "mysql") == 0;
}

enum log_level program_options_log_level(const struct program_options *options) {
    static const char *const names[] = {"debug", "info", "warning", "error"};
    for (unsigned level = 0; level < ARRAY_COUNT(names); level++) {
        if (strcmp(options->server.log_level.text, names[level]) == 0) {
            return (enum log_level)level;
        }
    }
    return LOG_INFO;
}
