/** The answers that the bench reads, cut out of a stream of bytes with as little work as will do:
 *  of HTTP the status line, Content-Length and Connection; of RESP2 the reply's kind and its bytes.
 *  A form that orderd does not send (a chunked body, a head without a length) is malformed here.
 *
 *  Pure, any thread. */
#ifndef ORDERD_ORDERCTL_BENCH_ANSWER_H
#define ORDERD_ORDERCTL_BENCH_ANSWER_H

#include "base/bytes.h"

/** No head of an answer is longer. */
#define BENCH_HEAD_BYTES_MAX 16384

#define BENCH_RESP_ITEMS_MAX 65536

enum bench_cut {
    BENCH_CUT_WHOLE,     /* an answer stands at the begin of the bytes */
    BENCH_CUT_MORE,      /* it goes on; `size` is how long it will be, 0 where that is not known */
    BENCH_CUT_MALFORMED, /* it is none: the connection is of no further use */
};

struct bench_answer {
    size_t size;       /* of the whole answer */
    int status;        /* HTTP's; of RESP 200, or 500 for an error reply */
    bool closes;       /* HTTP: the service closes the connection behind it */
    struct slice head; /* HTTP: status line and headers */
    struct slice body; /* RESP: the reply as it stands, its first byte is its kind */
};

enum bench_cut bench_cut_http(struct slice bytes, struct bench_answer *answer) MUST_CHECK;
enum bench_cut bench_cut_resp(struct slice bytes, struct bench_answer *answer) MUST_CHECK;

/** The value of a header in the head of an answer; no data where there is none. */
struct slice bench_answer_header(struct slice head, struct slice name);

/** The next bulk string of a reply that bench_cut_resp found whole, `*reply` moves behind it. A nil
 *  has no data. False where there is no bulk string. An array's items follow its own line, which
 *  bench_resp_enter_array passes. */
MUST_CHECK bool bench_resp_next_bulk(struct slice *reply, struct slice *bulk);

/** Passes the line of an array of `count` items; false where the reply is none. */
MUST_CHECK bool bench_resp_enter_array(struct slice *reply, size_t count);

#endif
