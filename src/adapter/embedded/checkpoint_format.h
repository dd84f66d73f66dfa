/** What the writer and the reader of checkpoints share, private to them. Pure. */
#ifndef ORDERD_ADAPTER_EMBEDDED_CHECKPOINT_FORMAT_H
#define ORDERD_ADAPTER_EMBEDDED_CHECKPOINT_FORMAT_H

#include "adapter/embedded/checkpoint.h"
#include "base/crc32c.h"

#define CHECKPOINT_MAGIC UINT32_C(0x504b4344) /* "DCKP" */

/** The checksum of a block of `size` bytes, header included. */
static inline uint32_t checkpoint_block_crc(const char *block, size_t size) {
    size_t from = offsetof(struct checkpoint_block, sequence);
    return crc32c(block + from, size - from);
}

#endif
