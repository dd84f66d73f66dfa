/** Reads what stands around a body: query parameters, entity tags, media types.
 *  Pure functions, any thread. */
#ifndef ORDERD_API_PARAMETERS_H
#define ORDERD_API_PARAMETERS_H

#include "net/http_parser.h"
#include "order/change.h"

enum parameter_status {
    PARAMETER_ABSENT,
    PARAMETER_PRESENT,
    PARAMETER_MALFORMED /* no valid encoding, too long, or given twice */
};

/** Finds query parameter `name` and decodes its value into `out`. */
enum parameter_status parameter_find(struct slice query, const char *name, char *out,
                                     size_t capacity, struct slice *value);

/** Reads a whole number of up to 32 bits, without sign or leading zeros. */
MUST_CHECK bool parameter_parse_u32(struct slice text, uint32_t *value);

/** Reads every If-Match field. False where one is malformed or weak. */
MUST_CHECK bool parameter_read_if_match(const struct http_head *head, struct order_match *match);

enum none_match {
    NONE_MATCH_ABSENT,
    NONE_MATCH_SAME, /* the version is named, or `*` */
    NONE_MATCH_OTHER,
    NONE_MATCH_MALFORMED
};

/** Compares the If-None-Match fields, weakly, with the version of an order that exists. */
enum none_match parameter_none_match(const struct http_head *head, uint32_t version);

/** True where the request's Content-Type is `type` (in small letters), whatever its parameters;
 *  but for a charset, which must be UTF-8. */
MUST_CHECK bool parameter_has_type(const struct http_head *head, struct slice type);

#endif
