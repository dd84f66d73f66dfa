/** Feeds bytes to the HTTP layer whole and in pieces, and holds that the pieces make no difference:
 *  to the parser of heads, to the decoder of chunked bodies, and to a whole server over a pair of
 *  sockets. Whatever comes, the server must give every buffer back and have no connection left. */
#include "net/http_internal.h"

#include "conversation.h"

#define CHECK(condition) FUZZ_CHECK(condition, "see the input")

#define BODY_MAX 3000

static const struct http_limits limits = {1024, 256};

/* The parsers */

struct parsed {
    enum http_parse head;
    enum http_parse body;
    struct http_refusal refusal;
    uint32_t head_bytes;
    size_t body_taken;
    size_t body_size;
    struct http_head fields;
    char *bytes; /* of just their number, so that a read past them is seen */
    char *body_bytes;
};

static void parse_head(struct parsed *parsed, const char *data, size_t size,
                       struct random_source *random) {
    struct http_parser parser;
    http_parser_init(&parser, &limits);
    size_t given = 0;
    parsed->head = HTTP_PARSE_MORE;
    while (parsed->head == HTTP_PARSE_MORE && given < size) {
        size_t piece = random == NULL ? size : conversation_piece(random, size - given);
        memcpy(parsed->bytes + given, data + given, piece);
        given += piece;
        parsed->head = http_parser_run(&parser, &parsed->fields, parsed->bytes, given);
    }
    parsed->refusal = parser.refusal;
    parsed->head_bytes = parser.head_bytes;
}

static void parse_body(struct parsed *parsed, const char *data, size_t size,
                       struct random_source *random) {
    struct http_chunks chunks;
    http_chunks_init(&chunks, BODY_MAX);
    parsed->body = HTTP_PARSE_MORE;
    while (parsed->body == HTTP_PARSE_MORE && parsed->body_taken < size) {
        size_t left = size - parsed->body_taken;
        size_t piece = random == NULL ? left : conversation_piece(random, left);
        char *raw = parsed->body_bytes + parsed->body_size;
        size_t taken;
        size_t made;
        memcpy(raw, data + parsed->body_taken, piece);
        parsed->body = http_chunks_decode(&chunks, raw, piece, raw, &taken, &made);
        CHECK(taken <= piece && made <= piece);
        CHECK(parsed->body != HTTP_PARSE_MORE || taken == piece);
        parsed->body_taken += taken;
        parsed->body_size += made;
    }
    CHECK(parsed->body_size <= BODY_MAX);
    if (parsed->body == HTTP_PARSE_REFUSED) {
        parsed->refusal = chunks.refusal;
    }
}

static void parse(struct parsed *parsed, const char *data, size_t size,
                  struct random_source *random) {
    memset(parsed, 0, sizeof(*parsed));
    parsed->bytes = malloc(size + 1);
    parsed->body_bytes = malloc(size + 1);
    CHECK(parsed->bytes != NULL && parsed->body_bytes != NULL);
    parse_head(parsed, data, size, random);
    size_t head = parsed->head == HTTP_PARSE_DONE ? parsed->head_bytes : 0;
    parse_body(parsed, data + head, size - head, random);
}

static void release(struct parsed *parsed) {
    free(parsed->bytes);
    free(parsed->body_bytes);
}

static void check_text(struct slice text) {
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        CHECK((byte >= 0x20 && byte != 0x7f) || byte == '\t');
    }
}

/** What holds of every head that is taken. */
static void check_head(const struct parsed *parsed) {
    const struct http_head *head = &parsed->fields;
    CHECK(parsed->head_bytes >= 18 && parsed->head_bytes <= limits.head_bytes_max);
    CHECK(memcmp(parsed->bytes + parsed->head_bytes - 4, "\r\n\r\n", 4) == 0);
    CHECK(head->minor_version <= 1);
    CHECK(!(head->chunked && (head->has_content_length || head->minor_version == 0)));
    CHECK(head->minor_version == 0 || head->host.size > 0);
    CHECK(head->path.size > 0 && (head->path.data[0] == '/' || head->path.data[0] == '*'));
    CHECK(head->target.size <= limits.target_bytes_max);
    CHECK(head->field_count <= HTTP_FIELDS_MAX);
    for (uint32_t i = 0; i < head->field_count; i++) {
        CHECK(head->fields[i].name.size > 0);
        check_text(head->fields[i].name);
        check_text(head->fields[i].value);
    }
}

static void check_same_fields(const struct http_head *left, const struct http_head *right) {
    CHECK(left->method == right->method && left->content_length == right->content_length);
    CHECK(left->chunked == right->chunked && left->keep_alive == right->keep_alive);
    CHECK(left->expect_continue == right->expect_continue);
    CHECK(slice_equal(left->path, right->path) && slice_equal(left->query, right->query));
    CHECK(left->field_count == right->field_count);
    for (uint32_t i = 0; i < left->field_count; i++) {
        CHECK(left->names[i] == right->names[i]);
        CHECK(slice_equal(left->fields[i].name, right->fields[i].name));
        CHECK(slice_equal(left->fields[i].value, right->fields[i].value));
    }
}

static void check_parsers(const char *data, size_t size, struct random_source *random) {
    struct parsed whole;
    struct parsed pieces;
    parse(&whole, data, size, NULL);
    parse(&pieces, data, size, random);
    CHECK(whole.head == pieces.head && whole.body == pieces.body);
    CHECK(whole.refusal.status == pieces.refusal.status);
    CHECK(whole.refusal.detail == pieces.refusal.detail);
    CHECK(whole.head_bytes == pieces.head_bytes);
    CHECK(whole.body_taken == pieces.body_taken && whole.body_size == pieces.body_size);
    CHECK(memcmp(whole.body_bytes, pieces.body_bytes, whole.body_size) == 0);
    if (whole.head == HTTP_PARSE_DONE) {
        check_head(&whole);
        check_same_fields(&whole.fields, &pieces.fields);
    }
    release(&whole);
    release(&pieces);
}

/* The server */

struct stage {
    struct http_handler handler;
    struct loop loop;
    struct mailbox mailbox;
    struct http_server *server;
    struct http_handle waiting;
    bool has_waiting;
    struct conversation conversation;
};

static size_t judge(struct http_handler *handler, struct http_exchange *exchange,
                    const struct http_head *head) {
    (void)handler;
    check_text(head->path);
    if (head->path.size > 20) {
        http_respond_plain(exchange, 404, "no such path");
    }
    return head->path.size < 3 ? 64 : HTTP_BODY_BYTES_MAX;
}

/** Says what arrived, so that two runs can be compared. */
static void tell(struct http_exchange *exchange, const struct http_head *head, struct slice body,
                 size_t padding) {
    struct http_answer answer = {.status = 200, .aligned = body.size % 2 == 1};
    struct text room;
    uint64_t sum = 0;
    for (size_t i = 0; i < body.size; i++) {
        sum = sum * 31 + (unsigned char)body.data[i];
    }
    if (!http_respond_begin(exchange, &answer, 4096 + padding, &room)) {
        http_respond_plain(exchange, 503, "no room");
        return;
    }
    text_append_format(&room, "%d %u %zu %llx ", (int)head->method, head->field_count, body.size,
                       (unsigned long long)sum);
    text_append_slice(&room, head->path);
    text_append_slice(&room, head->query);
    CHECK(!room.truncated);
    memset(room.data + room.size, '.', padding);
    http_respond_end(exchange, room.size + padding);
}

static void serve(struct http_handler *handler, struct http_exchange *exchange,
                  const struct http_head *head, struct slice body) {
    struct stage *stage = CONTAINER_OF(handler, struct stage, handler);
    char kind = head->path.size > 1 ? head->path.data[1] : 0;
    struct http_answer answer = {.status = 200};
    if (kind == 'l') {
        stage->waiting = http_exchange_handle(exchange);
        stage->has_waiting = true;
    } else if (kind == 's') {
        if (http_stream_begin(exchange, &answer)) {
            CHECK(http_stream_write(exchange, SLICE_LITERAL("data: x\n\n")));
            http_stream_end(exchange);
        }
    } else {
        tell(exchange, head, body, kind == 'b' ? 100000 : 0);
    }
}

static void forget(struct http_handler *handler, struct http_exchange *exchange) {
    struct stage *stage = CONTAINER_OF(handler, struct stage, handler);
    (void)exchange;
    stage->has_waiting = false;
}

static const struct http_handler_ops stage_ops = {.head = judge, .request = serve, .gone = forget};

static void drain_nothing(void *context, struct mailbox *mailbox) {
    (void)context;
    (void)mailbox;
}

static void adopt(void *context, int fd) {
    struct stage *stage = context;
    http_server_adopt(stage->server, fd);
}

static void turn(void *context) {
    struct stage *stage = context;
    (void)loop_step(&stage->loop, 0);
    if (stage->has_waiting) {
        struct http_exchange *exchange = http_server_exchange(stage->server, stage->waiting);
        CHECK(exchange != NULL);
        stage->has_waiting = false;
        http_respond_plain(exchange, 200, "later");
    }
}

/** Stands still, so that the dates of both runs are the same. */
static int64_t read_clock(const struct clock *clock) {
    (void)clock;
    return 1;
}

static struct stage *open_stage(void) {
    static const struct clock clock = {.now_us = read_clock};
    struct http_options options;
    struct config_section section = {"http", http_option_table, HTTP_OPTION_COUNT, &options};
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
    struct loop_setup loop_setup = {&stage->mailbox, drain_nothing, NULL, &clock};
    CHECK(mailbox_init(&stage->mailbox, 4) && loop_init(&stage->loop, &loop_setup, NULL));
    struct http_server_setup setup = {&stage->loop, options, &stage->handler};
    stage->server = http_server_create(&setup, NULL);
    CHECK(stage->server != NULL);
    stage->conversation = (struct conversation){
        .context = stage, .adopt = adopt, .turn = turn, .set = &stage->server->set};
    return stage;
}

/** An interim answer comes only if the body was not there yet: no difference that counts. */
static void drop_interim_answers(struct conversation *conversation) {
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    size_t size = sizeof(interim) - 1;
    char *at;
    while ((at = memmem(conversation->said, conversation->said_size, interim, size)) != NULL) {
        conversation->said_size -= size;
        memmove(at, at + size, conversation->said_size - (size_t)(at - conversation->said));
    }
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
    check_parsers((const char *)data, size, &random);
    conversation_compare(&stage->conversation, (const char *)data, size, &random,
                         drop_interim_answers);
    CHECK(stage->server->stream_count == 0);
    return 0;
}
