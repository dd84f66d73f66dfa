/** Writes the replies of RESP 2 and 3 into a text. What differs between the two is what is null and
 *  what is a map. Pure functions, any thread. */
#ifndef ORDERD_NET_RESP_REPLY_H
#define ORDERD_NET_RESP_REPLY_H

#include "base/text.h"

/** More than what stands around the bytes of any reply here. */
#define RESP_FRAME_BYTES 32

/** @param line without CR and LF, as "OK". */
void resp_put_simple(struct text *out, struct slice line);

/** @param line the code in capitals and a text, as "ERR unknown command". */
void resp_put_error(struct text *out, struct slice line);
void resp_put_number(struct text *out, uint64_t number);
void resp_put_bulk(struct text *out, struct slice bytes);
void resp_put_null(struct text *out, unsigned protocol);

/** The replies that are its elements follow. */
void resp_put_array(struct text *out, size_t count);

/** `count` pairs follow, a key before its value; in RESP 2 they are an array. */
void resp_put_map(struct text *out, size_t count, unsigned protocol);

#define resp_put_simple_literal(out, literal) resp_put_simple((out), SLICE_LITERAL(literal))
#define resp_put_error_literal(out, literal) resp_put_error((out), SLICE_LITERAL(literal))
#define resp_put_bulk_literal(out, literal) resp_put_bulk((out), SLICE_LITERAL(literal))

#endif
