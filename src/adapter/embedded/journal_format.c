#include "adapter/embedded/journal_format.h"

#include "base/crc32c.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define SEGMENT_MAGIC UINT64_C(0x314c4e4a4452444f) /* "ODRDJNL1" */
#define FRAME_MAGIC UINT32_C(0x4d524644)           /* "DFRM" */
#define SEGMENT_FORMAT 2
#define NUMBER_DIGITS 16

static const char name_prefix[] = "journal-";
static const char name_suffix[] = ".seg";

/* The checksum stands before what it covers. */
#define FRAME_CRC_FROM offsetof(struct journal_frame_header, segment)
#define SEGMENT_CRC_FROM offsetof(struct journal_segment_header, number)

void journal_segment_name(uint64_t number, char name[JOURNAL_NAME_MAX]) {
    (void)snprintf(name, JOURNAL_NAME_MAX, "%s%0*llu%s", name_prefix, NUMBER_DIGITS,
                   (unsigned long long)number, name_suffix);
}

bool journal_segment_number(const char *name, uint64_t *number) {
    size_t prefix = sizeof(name_prefix) - 1;
    if (strlen(name) != prefix + NUMBER_DIGITS + sizeof(name_suffix) - 1 ||
        memcmp(name, name_prefix, prefix) != 0 ||
        strcmp(name + prefix + NUMBER_DIGITS, name_suffix) != 0) {
        return false;
    }
    *number = 0;
    for (size_t i = 0; i < NUMBER_DIGITS; i++) {
        char digit = name[prefix + i];
        if (digit < '0' || digit > '9') {
            return false;
        }
        *number = *number * 10 + (uint64_t)(digit - '0');
    }
    return *number > 0;
}

static uint32_t segment_crc(const struct journal_segment_header *header) {
    return crc32c((const char *)header + SEGMENT_CRC_FROM, sizeof(*header) - SEGMENT_CRC_FROM);
}

void journal_segment_header_write(void *block, uint64_t number, uint64_t size_bytes) {
    struct journal_segment_header header = {
        .magic = SEGMENT_MAGIC,
        .format = SEGMENT_FORMAT,
        .number = number,
        .size_bytes = size_bytes,
    };
    header.crc = segment_crc(&header);
    memset(block, 0, JOURNAL_BLOCK_BYTES);
    memcpy(block, &header, sizeof(header));
}

bool journal_segment_header_read(const void *block, uint64_t number, uint64_t *size_bytes) {
    struct journal_segment_header header;
    memcpy(&header, block, sizeof(header));
    *size_bytes = header.size_bytes;
    return header.magic == SEGMENT_MAGIC && header.format == SEGMENT_FORMAT &&
           header.crc == segment_crc(&header) && header.number == number &&
           header.size_bytes >= 2 * JOURNAL_BLOCK_BYTES &&
           header.size_bytes <= JOURNAL_SEGMENT_BYTES_MAX;
}

static uint32_t frame_crc(const void *frame, size_t payload_end) {
    return crc32c((const char *)frame + FRAME_CRC_FROM, payload_end - FRAME_CRC_FROM);
}

/** What the frame's checksum cannot tell: a CRC over bytes that end with their own CRC comes out
 *  the same whatever they are, so one sound record could stand where another was written, as it
 *  does where a torn write meets what a recycled segment held before. */
static uint64_t digest_of_records(const void *frame, uint32_t record_count) {
    const struct order_record *records =
        (const struct order_record *)((const char *)frame + JOURNAL_FRAME_HEADER_BYTES);
    uint64_t digest = record_count;
    for (uint32_t i = 0; i < record_count; i++) {
        /* Multiplied by 2^64 over the golden ratio, made odd: one to one, so that a difference in
         * one record stays. */
        digest = (digest ^ records[i].crc) * UINT64_C(0x9e3779b97f4a7c15);
    }
    return digest;
}

size_t journal_frame_seal(void *frame, struct journal_frame_header header,
                          const struct journal_release *releases) {
    assert(header.record_count <= JOURNAL_FRAME_RECORDS_MAX &&
           header.release_count <= JOURNAL_FRAME_RELEASES_MAX);
    size_t releases_at = journal_frame_payload_end(header.record_count, 0);
    size_t payload_end = journal_frame_payload_end(header.record_count, header.release_count);
    size_t size = journal_frame_bytes(header.record_count, header.release_count);
    if (header.release_count > 0) {
        memcpy((char *)frame + releases_at, releases, payload_end - releases_at);
    }
    memset((char *)frame + payload_end, 0, size - payload_end);
    header.magic = FRAME_MAGIC;
    header.record_digest = digest_of_records(frame, header.record_count);
    memcpy(frame, &header, sizeof(header));
    header.crc = frame_crc(frame, payload_end);
    memcpy(frame, &header, sizeof(header));
    return size;
}

bool journal_frame_is_plausible(const struct journal_frame_header *header, uint64_t segment,
                                uint64_t sequence_min) {
    return header->magic == FRAME_MAGIC && header->segment == segment &&
           header->sequence >= sequence_min && header->record_count <= JOURNAL_FRAME_RECORDS_MAX &&
           header->release_count <= JOURNAL_FRAME_RELEASES_MAX;
}

bool journal_frame_is_intact(const void *frame, size_t size) {
    struct journal_frame_header header;
    memcpy(&header, frame, sizeof(header));
    size_t payload_end = journal_frame_payload_end(header.record_count, header.release_count);
    return payload_end <= size && header.crc == frame_crc(frame, payload_end) &&
           header.record_digest == digest_of_records(frame, header.record_count);
}
