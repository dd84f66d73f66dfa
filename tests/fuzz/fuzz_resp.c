/** RESP commands from anybody: the parser takes a command whole or in pieces with the same result,
 *  what it takes is within its limits, and the server answers the same bytes however they come,
 *  keeps its order, and gives everything back. */
#include "net/resp_internal.h"

#include "conversation.h"
#include "net/resp_reply.h"

#define CHECK(condition) FUZZ_CHECK(condition, "see the input")

/* --- The parser. --- */

/** A copy that ends where the input ends, so that a sanitizer sees every byte too many. */
static char *copy_of(const char *data, size_t size) {
    char *copy = malloc(size + (size == 0));
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    return copy;
}

static void check_command(const struct resp_command *command, const char *data, size_t size) {
    struct resp_arguments arguments = command->arguments;
    struct slice argument;
    uint32_t count = command->argument_count > 0 ? 1 : 0;
    CHECK(command->text.data == data && command->text.size > 0 && command->text.size <= size);
    CHECK(data[command->text.size - 1] == '\n');
    CHECK(command->argument_count <= RESP_ARGUMENTS_MAX);
    while (count > 0 && resp_arguments_next(&arguments, &argument)) {
        CHECK(argument.data >= data && argument.size <= RESP_ARGUMENT_BYTES_MAX &&
              argument.data + argument.size <= data + command->text.size);
        count++;
    }
    CHECK(count == command->argument_count);
}

static void check_parser(const char *data, size_t size, struct random_source *random) {
    struct resp_parser whole_parser = {.at = 0};
    struct resp_parser parser = {.at = 0};
    struct resp_command whole = {.argument_count = 0};
    struct resp_command command = {.argument_count = 0};
    char *copy = copy_of(data, size);
    enum resp_parse expected = resp_parser_run(&whole_parser, copy, size, &whole);
    size_t whole_size = whole.text.size;
    if (expected == RESP_PARSE_DONE) {
        check_command(&whole, copy, size);
    }
    free(copy);
    enum resp_parse parsed = RESP_PARSE_MORE;
    size_t have = 0;
    while (parsed == RESP_PARSE_MORE && have < size) {
        have += conversation_piece(random, size - have);
        copy = copy_of(data, have);
        parsed = resp_parser_run(&parser, copy, have, &command);
        if (parsed == RESP_PARSE_DONE) {
            check_command(&command, copy, have);
            CHECK(command.text.size == whole_size);
            CHECK(command.argument_count == whole.argument_count);
        }
        free(copy);
    }
    CHECK(parsed == expected);
    CHECK(parsed != RESP_PARSE_REFUSED || parser.refusal == whole_parser.refusal);
}

/* --- The server. --- */

struct stage {
    struct resp_handler handler;
    struct loop loop;
    struct mailbox mailbox;
    struct resp_server *server;
    struct resp_session *waiting;
    struct conversation conversation;
};

/** Says what arrived, so that two runs can be compared; a command that begins with `l` is answered
 *  when it comes for the second time, one with `b` gets a long answer, one with `q` the last. */
static size_t serve(struct resp_handler *handler, struct resp_session *session,
                    const struct resp_command *commands, size_t count) {
    struct stage *stage = CONTAINER_OF(handler, struct stage, handler);
    struct resp_arguments arguments = commands[0].arguments;
    struct slice argument;
    struct text out;
    uint64_t sum = 0;
    CHECK(count > 0 && count <= RESP_COMMANDS_AT_ONCE && commands[0].argument_count > 0);
    char kind = commands[0].name.size > 0 ? commands[0].name.data[0] : 0;
    if (kind == 'l' && session->user == NULL) {
        session->user = stage;
        stage->waiting = session;
        return 0;
    }
    session->user = NULL;
    while (resp_arguments_next(&arguments, &argument)) {
        for (size_t i = 0; i < argument.size; i++) {
            sum = sum * 31 + (unsigned char)argument.data[i];
        }
        sum = sum * 31 + 7;
    }
    size_t padding = kind == 'b' ? 50000 : 0;
    CHECK(resp_answer_begin(session, padding + 128, &out));
    text_append_format(&out, ":%u %llx ", commands[0].argument_count, (unsigned long long)sum);
    memset(out.data + out.size, '.', padding);
    out.size += padding;
    text_append_literal(&out, "\r\n");
    resp_answer_end(session, &out);
    if (kind == 'q') {
        resp_session_close(session);
    }
    return 1;
}

static void gone(struct resp_handler *handler, struct resp_session *session) {
    CONTAINER_OF(handler, struct stage, handler)->waiting = NULL;
    session->user = NULL;
}

static const struct resp_handler_ops stage_ops = {.serve = serve, .gone = gone};

static void drain_nothing(void *context, struct mailbox *mailbox) {
    (void)context;
    (void)mailbox;
}

static void adopt(void *context, int fd) {
    struct stage *stage = context;
    resp_server_adopt(stage->server, fd);
}

static void turn(void *context) {
    struct stage *stage = context;
    (void)loop_step(&stage->loop, 0);
    if (stage->waiting != NULL) {
        struct resp_session *session = stage->waiting;
        stage->waiting = NULL;
        resp_session_resume(session);
    }
}

static struct stage *open_stage(void) {
    struct resp_options options;
    struct config_section section = {"resp", resp_option_table, RESP_OPTION_COUNT, &options};
    struct config config = {.sections = &section, .section_count = 1};
    size_t bytes = bytes_align_up(sizeof(struct stage), CACHE_LINE_BYTES);
    struct stage *stage = aligned_alloc(CACHE_LINE_BYTES, bytes);
    CHECK(stage != NULL);
    memset(stage, 0, bytes);
    stage->handler.ops = &stage_ops;
    config_set_defaults(&config);
    options.connections_max = 2;
    options.medium_buffers = 2;
    options.large_buffers = 2;
    struct loop_setup loop_setup = {&stage->mailbox, drain_nothing, NULL, NULL};
    CHECK(mailbox_init(&stage->mailbox, 4) && loop_init(&stage->loop, &loop_setup, NULL));
    struct resp_server_setup setup = {&stage->loop, options, &stage->handler};
    stage->server = resp_server_create(&setup, NULL);
    CHECK(stage->server != NULL);
    stage->conversation = (struct conversation){
        .context = stage, .adopt = adopt, .turn = turn, .set = &stage->server->set};
    return stage;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct stage *stage;
    struct random_source random = {size};
    if (stage == NULL) {
        stage = open_stage();
    }
    if (size >= sizeof(uint64_t)) {
        random.state ^= bytes_load_u64(data + size - sizeof(uint64_t));
    }
    check_parser((const char *)data, size, &random);
    conversation_compare(&stage->conversation, (const char *)data, size, &random, NULL);
    return 0;
}
