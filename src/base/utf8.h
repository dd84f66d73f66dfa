/** Strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing past U+10FFFF.
 *  Pure, any thread. */
#ifndef ORDERD_BASE_UTF8_H
#define ORDERD_BASE_UTF8_H

#include <stddef.h>

/** Length of the one valid sequence at the start of `data`, or 0 where there is none. */
size_t utf8_sequence_length(const char *data, size_t size);

/** Encodes a code point that is no surrogate; returns the number of bytes written, at most 4. */
size_t utf8_encode(unsigned code_point, char out[4]);

#endif
