#include "adapter/cassandra/cql_frame.h"

#define FLAG_TRACING 0x02
#define FLAG_PAYLOAD 0x04
#define FLAG_WARNING 0x08
#define TRACING_ID_BYTES 16

/* Of the metadata of rows and of prepared statements. */
#define METADATA_GLOBAL 0x01
#define METADATA_MORE_PAGES 0x02
#define METADATA_NONE 0x04

/* Types inside of types: no schema has as many. */
#define TYPE_DEPTH_MAX 16

enum result_kind {
    RESULT_VOID = 1,
    RESULT_ROWS = 2,
    RESULT_SET_KEYSPACE = 3,
    RESULT_PREPARED = 4,
    RESULT_SCHEMA_CHANGE = 5
};

static void skip_string_list(struct cql_reader *reader) {
    size_t count = cql_read_u16(reader);
    for (size_t i = 0; i < count && !reader->failed; i++) {
        (void)cql_read_string(reader);
    }
}

static void skip_bytes_map(struct cql_reader *reader) {
    size_t count = cql_read_u16(reader);
    for (size_t i = 0; i < count && !reader->failed; i++) {
        bool is_null;
        (void)cql_read_string(reader);
        (void)cql_read_bytes(reader, &is_null);
    }
}

static void skip_string_multimap(struct cql_reader *reader) {
    size_t count = cql_read_u16(reader);
    for (size_t i = 0; i < count && !reader->failed; i++) {
        (void)cql_read_string(reader);
        skip_string_list(reader);
    }
}

/* --- Metadata. --- */

/** Reads a type with what is inside of it; returns its number, and the number of the first type
 *  inside in `element`. */
static uint16_t read_type(struct cql_reader *reader, unsigned depth, uint16_t *element) {
    uint16_t type = cql_read_u16(reader);
    uint16_t inner = 0;
    size_t inside = 0;
    *element = 0;
    if (depth == TYPE_DEPTH_MAX) {
        reader->failed = true;
        return 0;
    }
    switch (type) {
    case 0: /* custom: a class name */
        (void)cql_read_string(reader);
        return type;
    case CQL_TYPE_LIST:
    case CQL_TYPE_SET:
        inside = 1;
        break;
    case CQL_TYPE_MAP:
        inside = 2;
        break;
    case CQL_TYPE_UDT:
        (void)cql_read_string(reader);
        (void)cql_read_string(reader);
        inside = cql_read_u16(reader);
        break;
    case CQL_TYPE_TUPLE:
        inside = cql_read_u16(reader);
        break;
    default:
        return type;
    }
    for (size_t i = 0; i < inside && !reader->failed; i++) {
        uint16_t ignored;
        if (type == CQL_TYPE_UDT) {
            (void)cql_read_string(reader);
        }
        inner = read_type(reader, depth + 1, &ignored);
        *element = i == 0 ? inner : *element;
    }
    return type;
}

bool cql_columns_next(struct cql_columns *columns, struct cql_column *column) {
    if (!columns->described || columns->seen == columns->count || columns->at.failed) {
        return false;
    }
    column->keyspace = columns->is_global ? columns->keyspace : cql_read_string(&columns->at);
    column->table = columns->is_global ? columns->table : cql_read_string(&columns->at);
    column->name = cql_read_string(&columns->at);
    column->type = read_type(&columns->at, 0, &column->element);
    columns->seen++;
    return !columns->at.failed;
}

/** Walks over the columns, so that the reader is behind them and every one of them is sound. */
static void walk_columns(struct cql_reader *reader, struct cql_columns *columns) {
    if (columns->is_global && columns->described) {
        columns->keyspace = cql_read_string(reader);
        columns->table = cql_read_string(reader);
    }
    columns->at = *reader;
    struct cql_columns walk = *columns;
    struct cql_column column;
    while (cql_columns_next(&walk, &column)) {
    }
    if (columns->described) {
        *reader = walk.at;
    }
}

static void read_rows_metadata(struct cql_reader *reader, struct cql_columns *columns) {
    uint32_t flags = cql_read_u32(reader);
    *columns = (struct cql_columns){
        .count = cql_read_u32(reader),
        .described = (flags & METADATA_NONE) == 0,
        .has_more = (flags & METADATA_MORE_PAGES) != 0,
        .is_global = (flags & METADATA_GLOBAL) != 0,
    };
    if (columns->has_more) {
        bool is_null;
        (void)cql_read_bytes(reader, &is_null);
    }
    walk_columns(reader, columns);
}

static void read_binds_metadata(struct cql_reader *reader, struct cql_columns *columns) {
    uint32_t flags = cql_read_u32(reader);
    *columns = (struct cql_columns){
        .count = cql_read_u32(reader),
        .described = true,
        .is_global = (flags & METADATA_GLOBAL) != 0,
    };
    uint32_t keys = cql_read_u32(reader);
    for (uint32_t i = 0; i < keys && !reader->failed; i++) {
        (void)cql_read_u16(reader);
    }
    walk_columns(reader, columns);
}

/* --- Rows. --- */

bool cql_rows_next(struct cql_rows *rows, struct cql_cell *cells) {
    if (rows->seen == rows->count || rows->at.failed) {
        return false;
    }
    for (uint32_t i = 0; i < rows->columns.count; i++) {
        cells[i].bytes = cql_read_bytes(&rows->at, &cells[i].is_null);
    }
    rows->seen++;
    return !rows->at.failed;
}

static void read_rows(struct cql_reader *reader, struct cql_rows *rows) {
    read_rows_metadata(reader, &rows->columns);
    rows->count = cql_read_u32(reader);
    rows->seen = 0;
    rows->at = *reader;
    if (rows->columns.count == 0 && rows->count > 0) {
        reader->failed = true; /* no end to walk to */
    }
    for (uint32_t row = 0; row < rows->count && !reader->failed; row++) {
        for (uint32_t i = 0; i < rows->columns.count && !reader->failed; i++) {
            bool is_null;
            (void)cql_read_bytes(reader, &is_null);
        }
    }
}

/* --- Bodies. --- */

static void read_schema_change(struct cql_reader *reader) {
    (void)cql_read_string(reader); /* CREATED, UPDATED, DROPPED */
    struct slice target = cql_read_string(reader);
    (void)cql_read_string(reader);
    if (slice_equal(target, SLICE_LITERAL("KEYSPACE"))) {
        return;
    }
    (void)cql_read_string(reader);
    if (slice_equal(target, SLICE_LITERAL("FUNCTION")) ||
        slice_equal(target, SLICE_LITERAL("AGGREGATE"))) {
        skip_string_list(reader);
    }
}

static bool read_result(struct cql_reader *reader, struct cql_response *response,
                        struct fault *fault) {
    uint32_t kind = cql_read_u32(reader);
    switch ((enum result_kind)kind) {
    case RESULT_VOID:
        response->kind = CQL_RESPONSE_VOID;
        return true;
    case RESULT_ROWS:
        response->kind = CQL_RESPONSE_ROWS;
        read_rows(reader, &response->rows);
        return true;
    case RESULT_SET_KEYSPACE:
        response->kind = CQL_RESPONSE_SET_KEYSPACE;
        (void)cql_read_string(reader);
        return true;
    case RESULT_PREPARED:
        response->kind = CQL_RESPONSE_PREPARED;
        response->prepared.id = cql_read_string(reader);
        read_binds_metadata(reader, &response->prepared.binds);
        read_rows_metadata(reader, &response->prepared.results);
        return true;
    case RESULT_SCHEMA_CHANGE:
        response->kind = CQL_RESPONSE_SCHEMA_CHANGE;
        read_schema_change(reader);
        return true;
    }
    fault_set(fault, "a result of an unknown kind, %u", kind);
    return false;
}

static void read_error_details(struct cql_reader *reader, struct cql_error *error) {
    switch ((enum cql_error_code)error->code) {
    case CQL_ERROR_UNAVAILABLE:
        error->consistency = cql_read_u16(reader);
        error->required = cql_read_u32(reader);
        error->received = cql_read_u32(reader);
        break;
    case CQL_ERROR_WRITE_TIMEOUT:
    case CQL_ERROR_WRITE_FAILURE:
    case CQL_ERROR_READ_TIMEOUT:
    case CQL_ERROR_READ_FAILURE:
        error->consistency = cql_read_u16(reader);
        error->received = cql_read_u32(reader);
        error->required = cql_read_u32(reader);
        if (error->code == CQL_ERROR_WRITE_FAILURE || error->code == CQL_ERROR_READ_FAILURE) {
            error->failures = cql_read_u32(reader);
        }
        if (error->code == CQL_ERROR_WRITE_TIMEOUT || error->code == CQL_ERROR_WRITE_FAILURE) {
            error->write_type = cql_read_string(reader);
        } else {
            error->data_present = cql_read_u8(reader) != 0;
        }
        break;
    case CQL_ERROR_FUNCTION_FAILURE:
        error->keyspace = cql_read_string(reader);
        error->name = cql_read_string(reader);
        skip_string_list(reader);
        break;
    case CQL_ERROR_ALREADY_EXISTS:
        error->keyspace = cql_read_string(reader);
        error->name = cql_read_string(reader);
        break;
    case CQL_ERROR_UNPREPARED:
        error->statement_id = cql_read_string(reader);
        break;
    default: /* no details */
        break;
    }
}

/** Later servers may say more about an error than version 4 has: what follows is passed over. */
static void read_error(struct cql_reader *reader, struct cql_error *error) {
    *error = (struct cql_error){.code = cql_read_u32(reader)};
    error->message = cql_read_string(reader);
    read_error_details(reader, error);
    (void)cql_read_raw(reader, reader->left);
}

/** What may stand before the body proper. */
static void read_extras(struct cql_reader *reader, uint8_t flags, struct cql_response *response) {
    if ((flags & FLAG_TRACING) != 0) {
        (void)cql_read_raw(reader, TRACING_ID_BYTES);
    }
    if ((flags & FLAG_WARNING) != 0) {
        response->warning_count = cql_read_u16(reader);
        for (uint32_t i = 0; i < response->warning_count && !reader->failed; i++) {
            struct slice warning = cql_read_string(reader);
            response->warning = i == 0 ? warning : response->warning;
        }
    }
    if ((flags & FLAG_PAYLOAD) != 0) {
        skip_bytes_map(reader);
    }
}

static bool read_body(uint8_t opcode, struct cql_reader *reader, struct cql_response *response,
                      struct fault *fault) {
    bool is_null;
    switch ((enum cql_opcode)opcode) {
    case CQL_ERROR:
        response->kind = CQL_RESPONSE_ERROR;
        read_error(reader, &response->error);
        return true;
    case CQL_READY:
        response->kind = CQL_RESPONSE_READY;
        return true;
    case CQL_AUTHENTICATE:
        response->kind = CQL_RESPONSE_AUTHENTICATE;
        response->authenticator = cql_read_string(reader);
        return true;
    case CQL_AUTH_CHALLENGE:
        response->kind = CQL_RESPONSE_AUTH_CHALLENGE;
        (void)cql_read_bytes(reader, &is_null);
        return true;
    case CQL_AUTH_SUCCESS:
        response->kind = CQL_RESPONSE_AUTH_SUCCESS;
        (void)cql_read_bytes(reader, &is_null);
        return true;
    case CQL_SUPPORTED:
        response->kind = CQL_RESPONSE_SUPPORTED;
        skip_string_multimap(reader);
        return true;
    case CQL_RESULT:
        return read_result(reader, response, fault);
    case CQL_EVENT:
        response->kind = CQL_RESPONSE_EVENT;
        (void)cql_read_raw(reader, reader->left);
        return true;
    default: /* a request, or nothing */
        break;
    }
    fault_set(fault, "a message of an unknown kind, %u", opcode);
    return false;
}

bool cql_response_read(const struct cql_header *header, struct slice body,
                       struct cql_response *response, struct fault *fault) {
    struct cql_reader reader = cql_reader_over(body);
    *response = (struct cql_response){.kind = CQL_RESPONSE_ERROR};
    read_extras(&reader, header->flags, response);
    if (!read_body(header->opcode, &reader, response, fault)) {
        return false;
    }
    if (reader.failed) {
        fault_set(fault, "a message that ends too early (kind %u, %zu bytes)", header->opcode,
                  body.size);
        return false;
    }
    if (reader.left > 0) {
        fault_set(fault, "a message with %zu bytes too many (kind %u, %zu bytes)", reader.left,
                  header->opcode, body.size);
        return false;
    }
    return true;
}
