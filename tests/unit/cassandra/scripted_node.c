#include "cassandra/scripted_node.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_BYTES ((size_t)1 << 18)
#define REQUEST_HEADER 9
#define INSERT_CELLS CASSANDRA_ROW_CELLS

/** A frame of the client's. */
struct request {
    struct node_line *line;
    uint16_t stream;
    uint8_t opcode;
    struct slice body;
};

static int dial(const struct cassandra_dialer *dialer, const struct cassandra_address *address,
                struct fault *fault) {
    struct scripted_node *node = (struct scripted_node *)(uintptr_t)dialer;
    (void)address;
    node->dials++;
    for (size_t i = 0; i < NODE_LINES_MAX && !node->refuses; i++) {
        struct node_line *line = &node->lines[i];
        if (line->fd < 0) {
            int ends[2];
            int made = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends);
            assert(made == 0);
            line->fd = ends[1];
            line->in_size = 0;
            line->muted = false;
            line->held.size = 0;
            memset(line->knows, 0, sizeof(line->knows));
            return ends[0];
        }
    }
    fault_set(fault, "connect: Connection refused");
    return -1;
}

void scripted_node_init(struct scripted_node *node, const char *keyspace) {
    *node = (struct scripted_node){.dialer = {dial}, .statement_forgotten = -1};
    cassandra_statements_init(&node->statements, keyspace);
    node->rows = calloc(NODE_ROWS_MAX, sizeof(*node->rows));
    assert(node->rows != NULL);
    for (size_t i = 0; i < NODE_LINES_MAX; i++) {
        node->lines[i].fd = -1;
        node->lines[i].in = malloc(NODE_IN_BYTES);
        node->lines[i].held = text_over(malloc(OUT_BYTES), OUT_BYTES);
        assert(node->lines[i].in != NULL && node->lines[i].held.data != NULL);
    }
}

static void hang_up(struct node_line *line) {
    if (line->fd >= 0) {
        (void)close(line->fd);
        line->fd = -1;
    }
}

void scripted_node_hang_up(struct scripted_node *node) {
    for (size_t i = 0; i < NODE_LINES_MAX; i++) {
        hang_up(&node->lines[i]);
    }
}

void scripted_node_deinit(struct scripted_node *node) {
    scripted_node_hang_up(node);
    for (size_t i = 0; i < NODE_LINES_MAX; i++) {
        free(node->lines[i].in);
        free(node->lines[i].held.data);
    }
    free(node->rows);
}

size_t scripted_node_lines(const struct scripted_node *node) {
    size_t count = 0;
    for (size_t i = 0; i < NODE_LINES_MAX; i++) {
        count += node->lines[i].fd >= 0 ? 1 : 0;
    }
    return count;
}

/* --- Rows. --- */

struct node_row *scripted_node_row(struct scripted_node *node, uint64_t order_id) {
    for (size_t i = 0; i < node->row_count; i++) {
        if (node->rows[i].order_id == order_id) {
            return &node->rows[i];
        }
    }
    return NULL;
}

void scripted_node_set(struct scripted_node *node, uint64_t order_id, size_t cell,
                       const void *bytes, int32_t size) {
    struct node_row *row = scripted_node_row(node, order_id);
    assert(row != NULL && size <= NODE_VALUE_MAX);
    row->values[cell].size = size;
    memcpy(row->values[cell].bytes, bytes, size > 0 ? (size_t)size : 0);
}

/** Reads the values of an INSERT, and keeps the row where its timestamp is higher. */
static void take_row(struct scripted_node *node, struct cql_reader *reader) {
    struct node_row row = {.value_count = INSERT_CELLS};
    bool is_null;
    (void)cql_read_bytes(reader, &is_null); /* slot_group */
    (void)cql_read_bytes(reader, &is_null); /* minute */
    for (size_t i = 0; i < INSERT_CELLS; i++) {
        uint32_t size = cql_read_u32(reader);
        bool nothing = size >= UINT32_MAX - 1;
        struct slice bytes = nothing ? (struct slice){"", 0} : cql_read_raw(reader, size);
        assert(bytes.size <= NODE_VALUE_MAX);
        row.values[i].size = nothing ? -1 : (int32_t)bytes.size;
        memcpy(row.values[i].bytes, bytes.data, bytes.size);
    }
    (void)cql_read_u32(reader);
    uint64_t high = cql_read_u32(reader);
    row.timestamp_us = (int64_t)(high << 32 | cql_read_u32(reader));
    memcpy(&row.order_id, row.values[0].bytes, sizeof(row.order_id));
    row.order_id = __builtin_bswap64(row.order_id);
    assert(!reader->failed);
    struct node_row *there = scripted_node_row(node, row.order_id);
    if (there == NULL) {
        assert(node->row_count < NODE_ROWS_MAX);
        node->rows[node->row_count++] = row;
    } else if (there->timestamp_us < row.timestamp_us) {
        *there = row;
    }
}

/* --- Answers. --- */

static size_t begin_answer(struct text *out, uint16_t stream, uint8_t opcode) {
    size_t begin = out->size;
    cql_write_u8(out, 0x84);
    cql_write_u8(out, 0);
    cql_write_u16(out, stream);
    cql_write_u8(out, opcode);
    cql_write_u32(out, 0);
    return begin;
}

static void set_length(struct text *out, size_t begin, size_t size) {
    uint32_t length = __builtin_bswap32((uint32_t)size);
    memcpy(out->data + begin + 5, &length, sizeof(length));
}

static void end_answer(struct text *out, size_t begin) {
    assert(!out->truncated);
    set_length(out, begin, out->size - begin - REQUEST_HEADER);
}

static void send_out(struct node_line *line, const struct text *out) {
    if (line->muted || line->fd < 0) {
        return;
    }
    ssize_t sent = send(line->fd, out->data, out->size, MSG_NOSIGNAL);
    assert(sent == (ssize_t)out->size || errno == EPIPE || errno == ECONNRESET);
}

void scripted_node_let_go(struct scripted_node *node) {
    for (size_t i = 0; i < NODE_LINES_MAX; i++) {
        struct node_line *line = &node->lines[i];
        if (line->held.size > 0) {
            send_out(line, &line->held);
            line->held.size = 0;
        }
    }
}

static void write_error(struct text *out, uint32_t code) {
    cql_write_u32(out, code);
    cql_write_string(out, SLICE_LITERAL("as the script says"));
    switch ((enum cql_error_code)code) {
    case CQL_ERROR_UNAVAILABLE:
        cql_write_u16(out, CQL_LOCAL_QUORUM);
        cql_write_u32(out, 2);
        cql_write_u32(out, 1);
        break;
    case CQL_ERROR_WRITE_TIMEOUT:
        cql_write_u16(out, CQL_LOCAL_QUORUM);
        cql_write_u32(out, 1);
        cql_write_u32(out, 2);
        cql_write_string(out, SLICE_LITERAL("UNLOGGED_BATCH"));
        break;
    case CQL_ERROR_UNPREPARED:
        cql_write_string(out, SLICE_LITERAL("an id"));
        break;
    default:
        break;
    }
}

static void say_error(const struct request *request, uint8_t version, uint32_t code) {
    char memory[512];
    struct text out = text_over(memory, sizeof(memory));
    size_t begin = begin_answer(&out, request->stream, CQL_ERROR);
    out.data[begin] = (char)version;
    write_error(&out, code);
    end_answer(&out, begin);
    send_out(request->line, &out);
}

static void say(const struct request *request, enum cql_opcode opcode, struct slice body) {
    char memory[512];
    struct text out = text_over(memory, sizeof(memory));
    size_t begin = begin_answer(&out, request->stream, (uint8_t)opcode);
    text_append_slice(&out, body);
    end_answer(&out, begin);
    send_out(request->line, &out);
}

/* --- The handshake. --- */

static void greet(struct scripted_node *node, const struct request *request) {
    static const char wants_password[] = "\0\x2f"
                                         "org.apache.cassandra.auth.PasswordAuthenticator";
    static const char wants_kerberos[] = "\0\x15"
                                         "KerberosAuthenticator";
    node->startups++;
    switch (node->greeting) {
    case NODE_WANTS_PASSWORD:
        say(request, CQL_AUTHENTICATE, SLICE_LITERAL(wants_password));
        break;
    case NODE_WANTS_KERBEROS:
        say(request, CQL_AUTHENTICATE, SLICE_LITERAL(wants_kerberos));
        break;
    case NODE_OLD_VERSION:
        say_error(request, 0x83, CQL_ERROR_PROTOCOL);
        break;
    case NODE_NEVER_GREETS:
        break;
    default:
        say(request, CQL_READY, (struct slice){"", 0});
        break;
    }
}

static void log_in(struct scripted_node *node, const struct request *request) {
    char memory[160];
    struct text expected = text_over(memory, sizeof(memory));
    cql_write_credentials(&expected, slice_from_text(node->user), slice_from_text(node->password));
    if (slice_equal(request->body, text_slice(&expected))) {
        say(request, CQL_AUTH_SUCCESS, (struct slice){"\xff\xff\xff\xff", 4});
    } else {
        say_error(request, 0x84, CQL_ERROR_CREDENTIALS);
    }
}

static void write_columns(struct text *out, const struct cql_shape *shapes, size_t count) {
    if (count > 0) {
        cql_write_string(out, SLICE_LITERAL("k"));
        cql_write_string(out, SLICE_LITERAL("orders_by_slot"));
    }
    for (size_t i = 0; i < count; i++) {
        cql_write_string(out,
                         slice_from_text(shapes[i].name == NULL ? "in(order_id)" : shapes[i].name));
        cql_write_u16(out, shapes[i].type);
        if (shapes[i].type == CQL_TYPE_LIST) {
            cql_write_u16(out, shapes[i].element);
        }
    }
}

static void prepare(struct scripted_node *node, const struct request *request) {
    struct cql_reader reader = cql_reader_over(request->body);
    struct slice wanted = cql_read_raw(&reader, cql_read_u32(&reader));
    char memory[4096];
    struct text out = text_over(memory, sizeof(memory));
    if (node->greeting == NODE_NO_TABLE) {
        say_error(request, 0x84, CQL_ERROR_INVALID);
        return;
    }
    for (size_t i = 0; i < CASSANDRA_STATEMENT_COUNT; i++) {
        const struct cql_statement *statement = &node->statements.table[i];
        if (!slice_equal(statement->text, wanted)) {
            continue;
        }
        size_t binds = statement->bind_count - (node->greeting == NODE_OTHER_COLUMNS ? 1 : 0);
        size_t begin = begin_answer(&out, request->stream, CQL_RESULT);
        cql_write_u32(&out, 4);
        cql_write_u16(&out, 1);
        cql_write_u8(&out, (uint8_t)i); /* the id */
        cql_write_u32(&out, 1);
        cql_write_u32(&out, (uint32_t)binds);
        cql_write_u32(&out, 2);
        cql_write_u16(&out, 0);
        cql_write_u16(&out, 1);
        write_columns(&out, statement->binds, binds);
        cql_write_u32(&out, statement->result_count > 0 ? 1 : 4);
        cql_write_u32(&out, (uint32_t)statement->result_count);
        write_columns(&out, statement->results, statement->result_count);
        end_answer(&out, begin);
        request->line->knows[i] = true;
        send_out(request->line, &out);
        return;
    }
    assert(false); /* a statement that nobody should prepare */
}

/* --- Requests for rows. --- */

static bool knows(struct scripted_node *node, const struct request *request, struct slice id) {
    assert(id.size == 1 && (uint8_t)id.data[0] < CASSANDRA_STATEMENT_COUNT);
    if (node->statement_forgotten == id.data[0]) {
        request->line->knows[(uint8_t)id.data[0]] = false;
        node->statement_forgotten = -1;
    }
    return request->line->knows[(uint8_t)id.data[0]];
}

static void write_row(const struct scripted_node *node, const struct node_row *row, bool with_times,
                      struct text *out) {
    for (size_t i = 0; i < INSERT_CELLS; i++) {
        bool scrambled = node->manner == NODE_SCRAMBLES && i == 3;
        cql_write_u32(out, (uint32_t)(scrambled ? 3 : row->values[i].size));
        if (scrambled) {
            text_append_literal(out, "abc");
        } else if (row->values[i].size > 0) {
            text_append(out, row->values[i].bytes, (size_t)row->values[i].size);
        }
    }
    for (size_t i = 1; i < INSERT_CELLS && with_times; i++) {
        if (row->values[i].size < 0) {
            cql_write_value_null(out);
        } else {
            cql_write_value_u64(out, (uint64_t)row->timestamp_us);
        }
    }
}

static void write_rows(struct scripted_node *node, enum cassandra_statement statement,
                       struct cql_reader *reader, struct text *out) {
    bool is_null;
    bool with_times = statement == CASSANDRA_SELECT_WRITETIME;
    uint32_t found = 0;
    (void)cql_read_bytes(reader, &is_null); /* slot_group */
    (void)cql_read_bytes(reader, &is_null); /* minute */
    uint32_t count = 1;
    if (statement == CASSANDRA_SELECT_MANY) {
        (void)cql_read_u32(reader);
        count = cql_read_u32(reader);
    }
    cql_write_u32(out, 2);
    cql_write_u32(out, 4); /* no metadata */
    cql_write_u32(out, INSERT_CELLS + (with_times ? CASSANDRA_WRITETIME_CELLS : 0));
    size_t count_at = out->size;
    cql_write_u32(out, 0);
    for (uint32_t i = 0; i < count; i++) {
        struct slice bytes = cql_read_bytes(reader, &is_null);
        uint64_t order_id = 0;
        assert(bytes.size == sizeof(order_id));
        memcpy(&order_id, bytes.data, sizeof(order_id));
        const struct node_row *row = scripted_node_row(node, __builtin_bswap64(order_id));
        if (node->manner == NODE_FOREIGN_ROW && node->row_count > 0) {
            row = &node->rows[node->row_count - 1];
        }
        for (int copies = node->manner == NODE_ROW_TWICE ? 2 : 1; row != NULL && copies > 0;
             copies--) {
            write_row(node, row, with_times, out);
            found++;
        }
    }
    found = __builtin_bswap32(found);
    memcpy(out->data + count_at, &found, sizeof(found));
}

/** Carries a request out; the body of its answer goes to `out`. False where a statement was
 *  forgotten. */
static bool carry_out(struct scripted_node *node, const struct request *request, struct text *out) {
    struct cql_reader reader = cql_reader_over(request->body);
    if (request->opcode == CQL_QUERY) {
        struct slice query = cql_read_raw(&reader, cql_read_u32(&reader));
        assert(query.size < sizeof(node->query));
        memcpy(node->query, query.data, query.size);
        node->query[query.size] = 0;
        node->consistency = cql_read_u16(&reader);
        cql_write_u32(out, 1);
        return true;
    }
    if (request->opcode == CQL_BATCH) {
        uint8_t kind = cql_read_u8(&reader);
        size_t count = cql_read_u16(&reader);
        assert(kind == 1); /* unlogged */
        node->batches++;
        node->batch_rows_most = count > node->batch_rows_most ? count : node->batch_rows_most;
        for (size_t i = 0; i < count; i++) {
            (void)cql_read_u8(&reader);
            struct slice id = cql_read_string(&reader);
            uint16_t values = cql_read_u16(&reader);
            assert(values == CASSANDRA_INSERT_VALUES);
            if (!knows(node, request, id)) {
                return false;
            }
            take_row(node, &reader);
        }
        node->consistency = cql_read_u16(&reader);
        cql_write_u32(out, 1);
        return true;
    }
    struct slice id = cql_read_string(&reader);
    node->consistency = cql_read_u16(&reader);
    (void)cql_read_u8(&reader);
    (void)cql_read_u16(&reader);
    if (!knows(node, request, id)) {
        return false;
    }
    if (id.data[0] == CASSANDRA_INSERT) {
        take_row(node, &reader);
        cql_write_u32(out, 1);
    } else {
        write_rows(node, (enum cassandra_statement)id.data[0], &reader, out);
    }
    return true;
}

/** Sends an answer as the script wants it to be. */
static void send_answer(const struct request *request, enum node_manner manner, struct text *out,
                        size_t begin) {
    struct node_line *line = request->line;
    switch (manner) {
    case NODE_WRONG_STREAM:
        out->data[begin + 2] = 0x7f;
        break;
    case NODE_TOO_LONG:
        set_length(out, begin, 0x7fffffff);
        break;
    case NODE_TOO_SHORT:
        out->size -= 2;
        end_answer(out, begin);
        break;
    case NODE_HALF:
        out->size -= (out->size - begin) / 2;
        send_out(line, out);
        line->muted = true;
        return;
    case NODE_HOLDS_BACK:
        text_append_slice(&line->held, text_slice(out));
        assert(!line->held.truncated);
        return;
    case NODE_GARBAGE:
        memset(out->data + begin, 'G', out->size - begin);
        break;
    case NODE_WRONG_KIND:
        out->size = begin + REQUEST_HEADER;
        cql_write_u32(out, request->opcode == CQL_BATCH ? 2 : 1);
        if (request->opcode == CQL_BATCH) {
            cql_write_u32(out, 4);
            cql_write_u32(out, 1);
            cql_write_u32(out, 0);
        }
        end_answer(out, begin);
        break;
    default:
        break;
    }
    send_out(line, out);
}

static void serve(struct scripted_node *node, const struct request *request) {
    char *memory = malloc(OUT_BYTES);
    assert(memory != NULL);
    struct text out = text_over(memory, OUT_BYTES);
    enum node_manner manner = node->manner;
    node->requests++;
    if (manner == NODE_CLOSES) {
        hang_up(request->line);
    } else if (manner == NODE_SAYS_ERROR) {
        say_error(request, 0x84, node->error_code);
    } else if (manner != NODE_IS_SILENT) {
        size_t begin = begin_answer(&out, request->stream, CQL_RESULT);
        if (!carry_out(node, request, &out)) {
            say_error(request, 0x84, CQL_ERROR_UNPREPARED);
        } else if (manner == NODE_DOES_BUT_ERROR) {
            say_error(request, 0x84, node->error_code);
        } else if (manner == NODE_DOES_BUT_CLOSES) {
            hang_up(request->line);
        } else if (manner != NODE_DOES_BUT_SILENT) {
            end_answer(&out, begin);
            send_answer(request, manner, &out, begin);
        }
    }
    if (node->manner_times > 0 && --node->manner_times == 0) {
        node->manner = NODE_ANSWERS;
    }
    free(memory);
}

static void handle(struct scripted_node *node, const struct request *request) {
    switch ((enum cql_opcode)request->opcode) {
    case CQL_STARTUP:
        greet(node, request);
        break;
    case CQL_AUTH_RESPONSE:
        log_in(node, request);
        break;
    case CQL_PREPARE:
        prepare(node, request);
        break;
    case CQL_OPTIONS:
        node->options++;
        if (node->manner != NODE_IS_SILENT) {
            say(request, CQL_SUPPORTED, (struct slice){"\0\0", 2});
        }
        break;
    default:
        serve(node, request);
        break;
    }
}

static size_t serve_line(struct scripted_node *node, struct node_line *line) {
    ssize_t got = recv(line->fd, line->in + line->in_size, NODE_IN_BYTES - line->in_size, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        hang_up(line);
        return 0;
    }
    line->in_size += got > 0 ? (size_t)got : 0;
    size_t at = 0;
    size_t frames = 0;
    while (line->in_size - at >= REQUEST_HEADER && line->fd >= 0) {
        struct cql_reader reader = cql_reader_over((struct slice){line->in + at, REQUEST_HEADER});
        uint8_t version = cql_read_u8(&reader);
        assert(version == 4);
        (void)cql_read_u8(&reader);
        struct request request = {.line = line, .stream = cql_read_u16(&reader)};
        request.opcode = cql_read_u8(&reader);
        request.body.size = cql_read_u32(&reader);
        if (line->in_size - at - REQUEST_HEADER < request.body.size) {
            break;
        }
        request.body.data = line->in + at + REQUEST_HEADER;
        handle(node, &request);
        at += REQUEST_HEADER + request.body.size;
        frames++;
    }
    memmove(line->in, line->in + at, line->in_size - at);
    line->in_size -= at;
    return frames;
}

size_t scripted_node_step(struct scripted_node *node) {
    size_t frames = 0;
    for (size_t i = 0; i < NODE_LINES_MAX; i++) {
        if (node->lines[i].fd >= 0) {
            frames += serve_line(node, &node->lines[i]);
        }
    }
    return frames;
}
