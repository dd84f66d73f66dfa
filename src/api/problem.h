/** Errors for people and programs: RFC 9457 `application/problem+json` (API, section 3).
 *  Pure but for the answer; the loop's thread. */
#ifndef ORDERD_API_PROBLEM_H
#define ORDERD_API_PROBLEM_H

#include "net/http_server.h"
#include "order/json.h"

/** Enough for any problem, with its order or all of its errors. */
#define PROBLEM_BYTES_MAX 3584

/** What a problem may say beside its status and detail. */
struct problem {
    unsigned status;
    const char *detail;
    const struct order_errors *errors; /* NULL: none */
    uint64_t order_id;                 /* 0: none */
    uint32_t version;                  /* 0: none */
    const struct order_record *order;  /* NULL: none */
    int64_t timeout_us;                /* for the order's expires_at */
    const char *allow;                 /* value of the Allow field; NULL: none */
};

/** Appends the problem's JSON. Errors for which there is no room are left out. */
void problem_write(struct text *out, const struct problem *problem);

/** Answers with it; a 503 says when to come back. */
void problem_respond(struct http_exchange *exchange, const struct problem *problem);

/** As problem_respond, where status and detail say it all. */
void problem_respond_plain(struct http_exchange *exchange, unsigned status, const char *detail);

/** The title of a status. */
const char *problem_title(unsigned status);

#endif
