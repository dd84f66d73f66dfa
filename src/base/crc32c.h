/** CRC-32C (Castagnoli), the checksum of records, frames and checkpoint blocks.
 *  Polynomial 0x1EDC6F41, reflected, initial value and final xor all ones: the CRC of RFC 3720,
 *  appendix B.4. Pure, any thread. */
#ifndef ORDERD_BASE_CRC32C_H
#define ORDERD_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/** CRC-32C of `size` bytes. */
uint32_t crc32c(const void *data, size_t size);

/** Continues `crc`, a value that crc32c() returned for the bytes before `data`. */
uint32_t crc32c_extend(uint32_t crc, const void *data, size_t size);

#endif
