#include "adapter/redis/hash_slot.h"

static uint16_t next_crc(uint16_t crc, unsigned char byte) {
    /* Four bits at a time, with sixteen entries that stay in one cache line. */
    static const uint16_t nibbles[16] = {
        0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
        0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef,
    };
    crc = (uint16_t)((crc << 4) ^ nibbles[(crc >> 12) ^ (byte >> 4)]);
    return (uint16_t)((crc << 4) ^ nibbles[(crc >> 12) ^ (byte & 15)]);
}

uint16_t hash_slot_crc16(struct slice data) {
    uint16_t crc = 0;
    for (size_t i = 0; i < data.size; i++) {
        crc = next_crc(crc, (unsigned char)data.data[i]);
    }
    return crc;
}

uint16_t hash_slot_of_key(struct slice key) {
    const char *open = key.size == 0 ? NULL : memchr(key.data, '{', key.size);
    if (open != NULL) {
        size_t left = key.size - (size_t)(open + 1 - key.data);
        const char *close = memchr(open + 1, '}', left);
        if (close != NULL && close != open + 1) {
            key = (struct slice){open + 1, (size_t)(close - open - 1)};
        }
    }
    return hash_slot_crc16(key) & (HASH_SLOT_COUNT - 1);
}

size_t order_digits(uint64_t order_id, char out[ORDER_DIGITS_MAX]) {
    char reversed[ORDER_DIGITS_MAX];
    size_t count = 0;
    do {
        reversed[count++] = (char)('0' + order_id % 10);
        order_id /= 10;
    } while (order_id != 0);
    for (size_t i = 0; i < count; i++) {
        out[i] = reversed[count - 1 - i];
    }
    return count;
}

uint16_t hash_slot_of_order(uint64_t order_id) {
    char digits[ORDER_DIGITS_MAX];
    size_t size = order_digits(order_id, digits);
    return hash_slot_crc16((struct slice){digits, size}) & (HASH_SLOT_COUNT - 1);
}
