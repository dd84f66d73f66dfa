/** Frames of CQL's binary protocol, version 4: what orderd sends, and everything that a server may
 *  answer. Written from the protocol's specification (native_protocol_v4.spec).
 *
 *  Decoding is strict: a response is walked to its end before anything of it is handed out, so
 *  whoever iterates over rows afterwards meets no surprise. Every slice points into the frame.
 *  Pure, any thread. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CQL_FRAME_H
#define ORDERD_ADAPTER_CASSANDRA_CQL_FRAME_H

#include "adapter/cassandra/cql_wire.h"
#include "base/fault.h"

#define CQL_VERSION 4
#define CQL_HEADER_BYTES 9

/** Streams are numbered from 0; the server begins messages of its own on this one. */
#define CQL_STREAM_EVENT (-1)

enum cql_opcode {
    CQL_ERROR = 0x00,
    CQL_STARTUP = 0x01,
    CQL_READY = 0x02,
    CQL_AUTHENTICATE = 0x03,
    CQL_OPTIONS = 0x05,
    CQL_SUPPORTED = 0x06,
    CQL_QUERY = 0x07,
    CQL_RESULT = 0x08,
    CQL_PREPARE = 0x09,
    CQL_EXECUTE = 0x0a,
    CQL_EVENT = 0x0c,
    CQL_BATCH = 0x0d,
    CQL_AUTH_CHALLENGE = 0x0e,
    CQL_AUTH_RESPONSE = 0x0f,
    CQL_AUTH_SUCCESS = 0x10
};

enum cql_consistency {
    CQL_ONE = 0x0001,
    CQL_QUORUM = 0x0004,
    CQL_ALL = 0x0005,
    CQL_LOCAL_QUORUM = 0x0006,
    CQL_LOCAL_ONE = 0x000a
};

enum cql_error_code {
    CQL_ERROR_SERVER = 0x0000,
    CQL_ERROR_PROTOCOL = 0x000a,
    CQL_ERROR_CREDENTIALS = 0x0100,
    CQL_ERROR_UNAVAILABLE = 0x1000,
    CQL_ERROR_OVERLOADED = 0x1001,
    CQL_ERROR_BOOTSTRAPPING = 0x1002,
    CQL_ERROR_TRUNCATE = 0x1003,
    CQL_ERROR_WRITE_TIMEOUT = 0x1100,
    CQL_ERROR_READ_TIMEOUT = 0x1200,
    CQL_ERROR_READ_FAILURE = 0x1300,
    CQL_ERROR_FUNCTION_FAILURE = 0x1400,
    CQL_ERROR_WRITE_FAILURE = 0x1500,
    CQL_ERROR_SYNTAX = 0x2000,
    CQL_ERROR_UNAUTHORIZED = 0x2100,
    CQL_ERROR_INVALID = 0x2200,
    CQL_ERROR_CONFIGURATION = 0x2300,
    CQL_ERROR_ALREADY_EXISTS = 0x2400,
    CQL_ERROR_UNPREPARED = 0x2500
};

enum cql_type {
    CQL_TYPE_ASCII = 0x0001,
    CQL_TYPE_BIGINT = 0x0002,
    CQL_TYPE_INT = 0x0009,
    CQL_TYPE_UUID = 0x000c,
    CQL_TYPE_TEXT = 0x000d,
    CQL_TYPE_LIST = 0x0020,
    CQL_TYPE_MAP = 0x0021,
    CQL_TYPE_SET = 0x0022,
    CQL_TYPE_UDT = 0x0030,
    CQL_TYPE_TUPLE = 0x0031
};

/* --- The header of a response. --- */

enum cql_header_status {
    CQL_HEADER_OK,
    CQL_HEADER_INCOMPLETE, /* all right so far: more bytes are needed */
    CQL_HEADER_FOREIGN,    /* another protocol, or another version with another header */
    CQL_HEADER_BAD_FLAGS,  /* a flag that nobody asked for, as compression */
    CQL_HEADER_TOO_LONG    /* a body over the limit */
};

struct cql_header {
    uint8_t version; /* 4; a server that refuses version 4 says so in a frame of version 3 or 5 */
    uint8_t flags;
    int16_t stream;
    uint8_t opcode;
    uint32_t body_bytes;
};

/** Judges as much of a header as is there, so that what cannot be one is seen at its first wrong
 *  byte. @param body_bytes_max the longest body that is taken. */
MUST_CHECK enum cql_header_status cql_header_read(struct slice bytes, size_t body_bytes_max,
                                                  struct cql_header *header);

/* --- Requests: each is begun, its body written, and ended. --- */

/** Writes the header with an empty length; returns where the frame begins in `out`. */
MUST_CHECK size_t cql_request_begin(struct text *out, enum cql_opcode opcode, int16_t stream);

/** Puts the body's length into the header. Where something did not fit, the frame is taken out of
 *  `out` again, `truncated` is reset, and the answer is false. */
MUST_CHECK bool cql_request_end(struct text *out, size_t begin);

void cql_write_startup(struct text *out);

/** The token of SASL PLAIN, as PasswordAuthenticator takes it. */
void cql_write_credentials(struct text *out, struct slice user, struct slice password);

void cql_write_prepare(struct text *out, struct slice statement);
void cql_write_query(struct text *out, struct slice statement, enum cql_consistency consistency);

/** EXECUTE up to its values; `value_count` of them follow. Rows come back without metadata. */
void cql_write_execute(struct text *out, struct slice statement_id,
                       enum cql_consistency consistency, uint16_t value_count);

/** An unlogged BATCH of `statement_count` statements: each cql_write_batch_statement and its
 *  values; then cql_write_batch_end. */
void cql_write_batch(struct text *out, uint16_t statement_count);
void cql_write_batch_statement(struct text *out, struct slice statement_id, uint16_t value_count);
void cql_write_batch_end(struct text *out, enum cql_consistency consistency);

/* --- Responses. --- */

struct cql_column {
    struct slice keyspace;
    struct slice table;
    struct slice name;
    uint16_t type;    /* enum cql_type; others are possible */
    uint16_t element; /* of a list or set, else 0 */
};

/** Columns of rows or of a prepared statement; iterate with cql_columns_next. */
struct cql_columns {
    uint32_t count;
    bool described; /* false: only the count is known */
    bool has_more;  /* rows: there is a further page */
    bool is_global; /* keyspace and table stand once, before the columns */
    struct slice keyspace;
    struct slice table;
    uint32_t seen;
    struct cql_reader at;
};

struct cql_cell {
    bool is_null;
    struct slice bytes;
};

struct cql_rows {
    struct cql_columns columns;
    uint32_t count;
    uint32_t seen;
    struct cql_reader at;
};

struct cql_prepared {
    struct slice id;
    struct cql_columns binds;
    struct cql_columns results;
};

/** Fields that the code does not have are zero. */
struct cql_error {
    uint32_t code; /* enum cql_error_code; others are possible */
    struct slice message;
    uint16_t consistency;
    uint32_t received; /* replicas that answered; UNAVAILABLE: that are alive */
    uint32_t required;
    uint32_t failures;
    bool data_present;
    struct slice write_type;
    struct slice keyspace; /* ALREADY_EXISTS, FUNCTION_FAILURE */
    struct slice name;     /* of the table or function */
    struct slice statement_id;
};

enum cql_response_kind {
    CQL_RESPONSE_ERROR,
    CQL_RESPONSE_READY,
    CQL_RESPONSE_AUTHENTICATE,
    CQL_RESPONSE_AUTH_CHALLENGE,
    CQL_RESPONSE_AUTH_SUCCESS,
    CQL_RESPONSE_SUPPORTED,
    CQL_RESPONSE_VOID,
    CQL_RESPONSE_ROWS,
    CQL_RESPONSE_SET_KEYSPACE,
    CQL_RESPONSE_PREPARED,
    CQL_RESPONSE_SCHEMA_CHANGE,
    CQL_RESPONSE_EVENT /* not looked into */
};

struct cql_response {
    enum cql_response_kind kind;
    uint32_t warning_count;
    struct slice warning; /* the first */
    union {
        struct cql_error error;
        struct slice authenticator;
        struct cql_rows rows;
        struct cql_prepared prepared;
    };
};

/** Decodes the body that belongs to `header`. False where it is none: `fault` says what is wrong
 *  with it, and nothing of it may be used. */
MUST_CHECK bool cql_response_read(const struct cql_header *header, struct slice body,
                                  struct cql_response *response, struct fault *fault);

/** The next column; false after the last one, and where the columns are not described. */
MUST_CHECK bool cql_columns_next(struct cql_columns *columns, struct cql_column *column);

/** The next row into `cells`, which has room for columns.count. False after the last one. */
MUST_CHECK bool cql_rows_next(struct cql_rows *rows, struct cql_cell *cells);

/** The name of an error code, for messages. */
const char *cql_error_name(uint32_t code);

#endif
