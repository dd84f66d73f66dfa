#include "adapter/cassandra/cql_frame.h"

#include <assert.h>

/* Header: version, flags, stream (2), opcode, length (4). */
#define STREAM_OFFSET 2
#define OPCODE_OFFSET 4
#define LENGTH_OFFSET 5

#define RESPONSE_BIT 0x80
/* Versions with the header that version 4 has. A server that does not know version 4 refuses in one
 * of its own. */
#define VERSION_LOWEST 3
#define VERSION_HIGHEST 6

#define FLAG_TRACING 0x02
#define FLAG_PAYLOAD 0x04
#define FLAG_WARNING 0x08
#define FLAGS_KNOWN (FLAG_TRACING | FLAG_PAYLOAD | FLAG_WARNING)

/* Of the parameters of QUERY and EXECUTE. */
#define PARAMETER_VALUES 0x01
#define PARAMETER_SKIP_METADATA 0x02

#define BATCH_UNLOGGED 1
#define BATCH_STATEMENT_PREPARED 1

enum cql_header_status cql_header_read(struct slice bytes, size_t body_bytes_max,
                                       struct cql_header *header) {
    struct cql_reader reader = cql_reader_over(bytes);
    if (bytes.size >= 1) {
        unsigned version = cql_read_u8(&reader);
        if (version < (RESPONSE_BIT | VERSION_LOWEST) ||
            version > (RESPONSE_BIT | VERSION_HIGHEST)) {
            return CQL_HEADER_FOREIGN;
        }
        header->version = (uint8_t)(version & ~RESPONSE_BIT);
    }
    if (bytes.size >= STREAM_OFFSET) {
        header->flags = cql_read_u8(&reader);
        if ((header->flags & ~FLAGS_KNOWN) != 0) {
            return CQL_HEADER_BAD_FLAGS;
        }
    }
    if (bytes.size < CQL_HEADER_BYTES) {
        return CQL_HEADER_INCOMPLETE;
    }
    header->stream = (int16_t)cql_read_u16(&reader);
    header->opcode = cql_read_u8(&reader);
    header->body_bytes = cql_read_u32(&reader);
    return header->body_bytes <= body_bytes_max ? CQL_HEADER_OK : CQL_HEADER_TOO_LONG;
}

size_t cql_request_begin(struct text *out, enum cql_opcode opcode, int16_t stream) {
    size_t begin = out->size;
    cql_write_u8(out, CQL_VERSION);
    cql_write_u8(out, 0);
    cql_write_u16(out, (uint16_t)stream);
    cql_write_u8(out, (uint8_t)opcode);
    cql_write_u32(out, 0);
    return begin;
}

bool cql_request_end(struct text *out, size_t begin) {
    if (out->truncated) {
        out->size = begin;
        out->truncated = false;
        return false;
    }
    uint32_t length = __builtin_bswap32((uint32_t)(out->size - begin - CQL_HEADER_BYTES));
    memcpy(out->data + begin + LENGTH_OFFSET, &length, sizeof(length));
    return true;
}

void cql_write_startup(struct text *out) {
    cql_write_u16(out, 2);
    cql_write_string(out, SLICE_LITERAL("CQL_VERSION"));
    cql_write_string(out, SLICE_LITERAL("3.0.0"));
    cql_write_string(out, SLICE_LITERAL("DRIVER_NAME"));
    cql_write_string(out, SLICE_LITERAL("orderd"));
}

void cql_write_credentials(struct text *out, struct slice user, struct slice password) {
    cql_write_u32(out, (uint32_t)(user.size + password.size + 2));
    cql_write_u8(out, 0);
    text_append_slice(out, user);
    cql_write_u8(out, 0);
    text_append_slice(out, password);
}

void cql_write_prepare(struct text *out, struct slice statement) {
    cql_write_long_string(out, statement);
}

void cql_write_query(struct text *out, struct slice statement, enum cql_consistency consistency) {
    cql_write_long_string(out, statement);
    cql_write_u16(out, (uint16_t)consistency);
    cql_write_u8(out, 0);
}

void cql_write_execute(struct text *out, struct slice statement_id,
                       enum cql_consistency consistency, uint16_t value_count) {
    cql_write_string(out, statement_id);
    cql_write_u16(out, (uint16_t)consistency);
    cql_write_u8(out, PARAMETER_VALUES | PARAMETER_SKIP_METADATA);
    cql_write_u16(out, value_count);
}

void cql_write_batch(struct text *out, uint16_t statement_count) {
    cql_write_u8(out, BATCH_UNLOGGED);
    cql_write_u16(out, statement_count);
}

void cql_write_batch_statement(struct text *out, struct slice statement_id, uint16_t value_count) {
    cql_write_u8(out, BATCH_STATEMENT_PREPARED);
    cql_write_string(out, statement_id);
    cql_write_u16(out, value_count);
}

void cql_write_batch_end(struct text *out, enum cql_consistency consistency) {
    cql_write_u16(out, (uint16_t)consistency);
    cql_write_u8(out, 0);
}

const char *cql_error_name(uint32_t code) {
    switch ((enum cql_error_code)code) {
    case CQL_ERROR_SERVER:
        return "server error";
    case CQL_ERROR_PROTOCOL:
        return "protocol error";
    case CQL_ERROR_CREDENTIALS:
        return "bad credentials";
    case CQL_ERROR_UNAVAILABLE:
        return "too few replicas alive";
    case CQL_ERROR_OVERLOADED:
        return "overloaded";
    case CQL_ERROR_BOOTSTRAPPING:
        return "bootstrapping";
    case CQL_ERROR_TRUNCATE:
        return "truncate error";
    case CQL_ERROR_WRITE_TIMEOUT:
        return "write time-out";
    case CQL_ERROR_READ_TIMEOUT:
        return "read time-out";
    case CQL_ERROR_READ_FAILURE:
        return "read failure";
    case CQL_ERROR_FUNCTION_FAILURE:
        return "function failure";
    case CQL_ERROR_WRITE_FAILURE:
        return "write failure";
    case CQL_ERROR_SYNTAX:
        return "syntax error";
    case CQL_ERROR_UNAUTHORIZED:
        return "unauthorized";
    case CQL_ERROR_INVALID:
        return "invalid";
    case CQL_ERROR_CONFIGURATION:
        return "configuration error";
    case CQL_ERROR_ALREADY_EXISTS:
        return "already exists";
    case CQL_ERROR_UNPREPARED:
        return "unprepared";
    }
    return "unknown error";
}
