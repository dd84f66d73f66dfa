/** The decoder of chunked bodies (RFC 9112 section 7.1): strict, in place, in any number of pieces.
 *  Chunk sizes are bounded before they are believed; extensions and trailers are checked, counted
 *  and dropped. The result does not depend on the pieces.
 *
 *  The caller owns all memory. One thread at a time. */
#ifndef ORDERD_NET_HTTP_CHUNKS_H
#define ORDERD_NET_HTTP_CHUNKS_H

#include "net/http_parser.h"

/** Of all extensions of a body together, and of its trailers. */
#define HTTP_CHUNK_EXTENSION_BYTES_MAX 4096
#define HTTP_TRAILER_BYTES_MAX 4096

struct http_chunks {
    struct http_refusal refusal;
    uint64_t body_bytes_max;
    uint64_t body_bytes;  /* of all chunks announced so far */
    uint64_t chunk_left;  /* bytes of this chunk's data that are still to come */
    uint64_t size_so_far; /* of a chunk whose size is being read: not judged yet */
    uint32_t extension_bytes;
    uint32_t trailer_bytes;
    uint8_t state;
    uint8_t size_digits;
};

/** @param body_bytes_max a larger body is refused with 413 as soon as a chunk announces it. */
void http_chunks_init(struct http_chunks *chunks, uint64_t body_bytes_max);

/** Decodes `size` bytes at `from` to `to`, which may be the same place or lie before it.
 *  @param taken how many bytes of `from` belonged to the body: all of them but for DONE, after
 *  which the next request begins. @param made how many bytes were written to `to`. */
MUST_CHECK enum http_parse http_chunks_decode(struct http_chunks *chunks, const char *from,
                                              size_t size, char *to, size_t *taken, size_t *made);

#endif
