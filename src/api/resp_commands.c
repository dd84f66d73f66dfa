#include "api/resp_commands.h"

#include <assert.h>

#define ANY RESP_ARGUMENTS_MAX

/* Arguments of COMMAND INFO: each has an entry in the answer. */
#define WORDS_MAX 256

/* Room for the longest fixed answer: COMMAND DOCS. */
#define FIXED_ROOM 4096

static const struct resp_command_info command_table[] = {
    {"get", "Returns an order as JSON", RESP_COMMAND_GET, 2, 2},
    {"mget", "Returns several orders as JSON", RESP_COMMAND_MGET, 2, ANY},
    {"status", "Returns the status of an order", RESP_COMMAND_STATUS, 2, 2},
    {"mstatus", "Returns the statuses of several orders", RESP_COMMAND_MSTATUS, 2, ANY},
    {"ping", "Answers", RESP_COMMAND_PING, 1, 2},
    {"echo", "Returns its argument", RESP_COMMAND_ECHO, 2, 2},
    {"hello", "Chooses the protocol's version and tells of the server", RESP_COMMAND_HELLO, 1, 8},
    {"client", "Tells of the connection, or names it", RESP_COMMAND_CLIENT, 2, 8},
    {"command", "Tells of the commands", RESP_COMMAND_COMMAND, 1, WORDS_MAX},
    {"config", "Tells of the configuration", RESP_COMMAND_CONFIG, 3, 64},
    {"info", "Tells of the server", RESP_COMMAND_INFO, 1, 64},
    {"quit", "Ends the connection", RESP_COMMAND_QUIT, 1, ANY},
};

static char small_letter(char character) {
    return character >= 'A' && character <= 'Z' ? (char)(character + ('a' - 'A')) : character;
}

bool resp_word_is(struct slice word, const char *literal) {
    for (size_t i = 0; i < word.size; i++) {
        if (literal[i] == 0 || small_letter(word.data[i]) != literal[i]) {
            return false;
        }
    }
    return literal[word.size] == 0;
}

const struct resp_command_info *resp_command_find(struct slice name) {
    for (size_t i = 0; i < ARRAY_COUNT(command_table); i++) {
        if (resp_word_is(name, command_table[i].name)) {
            return &command_table[i];
        }
    }
    return NULL;
}

size_t resp_command_room(const struct resp_command_info *info, const struct resp_command *command) {
    if (info == NULL || !resp_command_takes(info, command->argument_count)) {
        return 256;
    }
    switch (info->kind) {
    case RESP_COMMAND_PING:
    case RESP_COMMAND_ECHO:
        return command->text.size + RESP_FRAME_BYTES;
    case RESP_COMMAND_COMMAND:
        /* COMMAND INFO has an entry for each name that was asked for. */
        return FIXED_ROOM + command->argument_count * (size_t)160;
    case RESP_COMMAND_CONFIG:
        return FIXED_ROOM;
    default:
        return 1024;
    }
}

/* --- HELLO, CLIENT. --- */

static bool rename_session(struct resp_session *session, struct slice name, struct text *out) {
    bool plain = name.size <= RESP_NAME_BYTES_MAX;
    for (size_t i = 0; plain && i < name.size; i++) {
        plain = name.data[i] > ' ' && name.data[i] <= '~';
    }
    if (!plain) {
        resp_put_error_literal(out, "ERR a name has up to 64 letters, digits and signs");
        return false;
    }
    memmove(session->name, name.data, name.size); /* HELLO without SETNAME keeps the name */
    session->name_size = (uint32_t)name.size;
    return true;
}

static void put_pair(struct text *out, const char *key, const char *value) {
    resp_put_bulk(out, slice_from_text(key));
    resp_put_bulk(out, slice_from_text(value));
}

static void put_hello(const struct resp_program *program, const struct resp_session *session,
                      struct text *out) {
    resp_put_map(out, 7, session->protocol);
    put_pair(out, "server", "orderd");
    put_pair(out, "version", program->version);
    resp_put_bulk_literal(out, "proto");
    resp_put_number(out, session->protocol);
    resp_put_bulk_literal(out, "id");
    resp_put_number(out, session->number);
    put_pair(out, "mode", "standalone");
    put_pair(out, "role", "master");
    resp_put_bulk_literal(out, "modules");
    resp_put_array(out, 0);
}

/** HELLO [version [AUTH user password] [SETNAME name]]: all of it is judged before any of it
 *  holds. */
static void answer_hello(const struct resp_program *program, struct resp_session *session,
                         struct resp_arguments arguments, struct text *out) {
    struct slice word;
    struct slice name = {session->name, session->name_size};
    unsigned protocol = session->protocol;
    if (resp_arguments_next(&arguments, &word)) {
        bool known = word.size == 1 && (word.data[0] == '2' || word.data[0] == '3');
        if (!known) {
            resp_put_error_literal(out, "NOPROTO unsupported protocol version");
            return;
        }
        protocol = (unsigned)(word.data[0] - '0');
    }
    while (resp_arguments_next(&arguments, &word)) {
        if (resp_word_is(word, "auth")) {
            resp_put_error_literal(out, "ERR this server knows no users and passwords");
            return;
        }
        if (!resp_word_is(word, "setname") || !resp_arguments_next(&arguments, &name)) {
            resp_put_error_literal(out, "ERR syntax error in HELLO");
            return;
        }
    }
    if (rename_session(session, name, out)) {
        session->protocol = protocol;
        put_hello(program, session, out);
    }
}

static void put_client_info(const struct resp_session *session, struct text *out) {
    char memory[256];
    struct text line = text_over(memory, sizeof(memory));
    text_append_format(&line, "id=%llu name=%.*s resp=%u db=0", (unsigned long long)session->number,
                       (int)session->name_size, session->name, session->protocol);
    resp_put_bulk(out, text_slice(&line));
}

static void answer_client(struct resp_session *session, const struct resp_command *command,
                          struct text *out) {
    struct resp_arguments arguments = command->arguments;
    struct slice what = {NULL, 0};
    struct slice value = {NULL, 0};
    bool has_what = resp_arguments_next(&arguments, &what);
    bool has_value = has_what && resp_arguments_next(&arguments, &value);
    uint32_t count = command->argument_count;
    if (resp_word_is(what, "id") && !has_value) {
        resp_put_number(out, session->number);
    } else if (resp_word_is(what, "getname") && !has_value) {
        if (session->name_size == 0) {
            resp_put_null(out, session->protocol);
        } else {
            resp_put_bulk(out, (struct slice){session->name, session->name_size});
        }
    } else if (resp_word_is(what, "setname") && count == 3) {
        if (rename_session(session, value, out)) {
            resp_put_simple_literal(out, "OK");
        }
    } else if (resp_word_is(what, "info") && !has_value) {
        put_client_info(session, out);
    } else if ((resp_word_is(what, "setinfo") && count == 4) ||
               ((resp_word_is(what, "no-evict") || resp_word_is(what, "no-touch")) && count == 3)) {
        resp_put_simple_literal(out, "OK"); /* there is nothing that it would change */
    } else {
        resp_put_error_literal(out, "ERR unknown subcommand or wrong number of arguments");
    }
}

/* --- COMMAND. --- */

static bool has_keys(const struct resp_command_info *info) {
    return info->kind <= RESP_COMMAND_MSTATUS;
}

/** Name, arity (negative: at least), flags, where the keys are (first, last, step), category, and
 *  three lists that say nothing here: tips, key specifications, subcommands. */
static void put_entry(struct text *out, const struct resp_command_info *info) {
    bool keys = has_keys(info);
    bool many = info->arguments_max > info->arguments_min;
    resp_put_array(out, 10);
    resp_put_bulk(out, slice_from_text(info->name));
    text_append_format(out, ":%s%u\r\n", many ? "-" : "", info->arguments_min);
    resp_put_array(out, 2);
    resp_put_simple_literal(out, "readonly");
    resp_put_simple_literal(out, "fast");
    text_append_format(out, ":%d\r\n:%d\r\n:%d\r\n", keys ? 1 : 0, keys ? (many ? -1 : 1) : 0,
                       keys ? 1 : 0);
    resp_put_array(out, 1);
    resp_put_simple(out, slice_from_text(keys ? "@read" : "@connection"));
    for (int i = 0; i < 3; i++) {
        resp_put_array(out, 0);
    }
}

static void put_entries(struct text *out, struct resp_arguments names, uint32_t count,
                        unsigned protocol) {
    struct slice name;
    resp_put_array(out, count);
    while (resp_arguments_next(&names, &name)) {
        const struct resp_command_info *info = resp_command_find(name);
        if (info == NULL) {
            resp_put_null(out, protocol);
        } else {
            put_entry(out, info);
        }
    }
}

static void put_document(struct text *out, const struct resp_command_info *info,
                         unsigned protocol) {
    resp_put_bulk(out, slice_from_text(info->name));
    resp_put_map(out, 3, protocol);
    put_pair(out, "summary", info->summary);
    put_pair(out, "since", "0.1.0");
    put_pair(out, "group", has_keys(info) ? "string" : "connection");
}

/** Without names the documents of all; a name that is unknown has none. */
static void put_documents(struct text *out, struct resp_arguments names, unsigned protocol) {
    bool wanted[ARRAY_COUNT(command_table)] = {false};
    size_t count = 0;
    struct slice name;
    bool any = false;
    while (resp_arguments_next(&names, &name)) {
        const struct resp_command_info *info = resp_command_find(name);
        any = true;
        if (info != NULL) {
            wanted[info - command_table] = true;
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(command_table); i++) {
        wanted[i] |= !any;
        count += wanted[i] ? 1 : 0;
    }
    resp_put_map(out, count, protocol);
    for (size_t i = 0; i < ARRAY_COUNT(command_table); i++) {
        if (wanted[i]) {
            put_document(out, &command_table[i], protocol);
        }
    }
}

static void put_table(struct text *out, bool names_only) {
    resp_put_array(out, ARRAY_COUNT(command_table));
    for (size_t i = 0; i < ARRAY_COUNT(command_table); i++) {
        if (names_only) {
            resp_put_bulk(out, slice_from_text(command_table[i].name));
        } else {
            put_entry(out, &command_table[i]);
        }
    }
}

static void answer_command(const struct resp_session *session, const struct resp_command *command,
                           struct text *out) {
    struct resp_arguments arguments = command->arguments;
    struct slice what;
    if (!resp_arguments_next(&arguments, &what)) {
        put_table(out, false);
    } else if (resp_word_is(what, "count")) {
        resp_put_number(out, ARRAY_COUNT(command_table));
    } else if (resp_word_is(what, "list")) {
        put_table(out, true);
    } else if (resp_word_is(what, "docs")) {
        put_documents(out, arguments, session->protocol);
    } else if (resp_word_is(what, "info") && command->argument_count > 2) {
        put_entries(out, arguments, command->argument_count - 2, session->protocol);
    } else if (resp_word_is(what, "info")) {
        put_table(out, false);
    } else {
        resp_put_error_literal(out, "ERR unknown subcommand or wrong number of arguments");
    }
}

/* --- CONFIG, INFO. --- */

/** What client programs ask for; nothing is kept here by these means. */
static const char *const settings[][2] = {
    {"save", ""},
    {"appendonly", "no"},
    {"databases", "1"},
    {"maxmemory", "0"},
};

/** CONFIG GET name...; `*` is all of them. */
static void answer_config(const struct resp_session *session, struct resp_arguments arguments,
                          struct text *out) {
    bool wanted[ARRAY_COUNT(settings)] = {false};
    size_t count = 0;
    struct slice word;
    if (!resp_arguments_next(&arguments, &word) || !resp_word_is(word, "get")) {
        resp_put_error_literal(out, "ERR only CONFIG GET is served here");
        return;
    }
    while (resp_arguments_next(&arguments, &word)) {
        for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
            wanted[i] |= resp_word_is(word, settings[i][0]) || resp_word_is(word, "*");
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
        count += wanted[i] ? 1 : 0;
    }
    resp_put_map(out, count, session->protocol);
    for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
        if (wanted[i]) {
            put_pair(out, settings[i][0], settings[i][1]);
        }
    }
}

static void answer_info(const struct resp_program *program, struct text *out) {
    char memory[512];
    struct text body = text_over(memory, sizeof(memory));
    /* Clients choose by redis_version what they may send; everything here is in that one. */
    text_append_format(&body,
                       "# Server\r\norderd_version:%s\r\nredis_version:6.0.0\r\n"
                       "redis_mode:standalone\r\n\r\n# Replication\r\nrole:master\r\n"
                       "connected_slaves:0\r\n\r\n# Persistence\r\nloading:0\r\n",
                       program->version);
    resp_put_bulk(out, text_slice(&body));
}

/* --- All of them. --- */

void resp_command_answer(const struct resp_program *program, struct resp_session *session,
                         const struct resp_command_info *info, const struct resp_command *command,
                         struct text *out) {
    struct resp_arguments arguments = command->arguments;
    struct slice argument;
    switch (info->kind) {
    case RESP_COMMAND_PING:
    case RESP_COMMAND_ECHO:
        if (resp_arguments_next(&arguments, &argument)) {
            resp_put_bulk(out, argument);
        } else {
            resp_put_simple_literal(out, "PONG");
        }
        return;
    case RESP_COMMAND_HELLO:
        answer_hello(program, session, arguments, out);
        return;
    case RESP_COMMAND_CLIENT:
        answer_client(session, command, out);
        return;
    case RESP_COMMAND_COMMAND:
        answer_command(session, command, out);
        return;
    case RESP_COMMAND_CONFIG:
        answer_config(session, arguments, out);
        return;
    case RESP_COMMAND_INFO:
        answer_info(program, out);
        return;
    case RESP_COMMAND_QUIT:
        resp_put_simple_literal(out, "OK");
        resp_session_close(session);
        return;
    default:
        assert(!"this command asks for orders");
    }
}
