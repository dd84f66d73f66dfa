#include "base/utf8.h"

#include <stdbool.h>

static bool is_continuation(unsigned char byte) {
    return (byte & 0xc0) == 0x80;
}

size_t utf8_sequence_length(const char *data, size_t size) {
    const unsigned char *byte = (const unsigned char *)data;
    if (size == 0) {
        return 0;
    }
    if (byte[0] < 0x80) {
        return 1;
    }
    if (byte[0] >= 0xc2 && byte[0] <= 0xdf) {
        return size >= 2 && is_continuation(byte[1]) ? 2 : 0;
    }
    if (byte[0] >= 0xe0 && byte[0] <= 0xef) {
        unsigned char low = byte[0] == 0xe0 ? 0xa0 : 0x80;
        unsigned char high = byte[0] == 0xed ? 0x9f : 0xbf;
        bool valid = size >= 3 && byte[1] >= low && byte[1] <= high && is_continuation(byte[2]);
        return valid ? 3 : 0;
    }
    if (byte[0] >= 0xf0 && byte[0] <= 0xf4) {
        unsigned char low = byte[0] == 0xf0 ? 0x90 : 0x80;
        unsigned char high = byte[0] == 0xf4 ? 0x8f : 0xbf;
        bool valid = size >= 4 && byte[1] >= low && byte[1] <= high && is_continuation(byte[2]) &&
                     is_continuation(byte[3]);
        return valid ? 4 : 0;
    }
    return 0;
}

size_t utf8_encode(unsigned code_point, char out[4]) {
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xc0 | (code_point >> 6));
        out[1] = (char)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (char)(0xe0 | (code_point >> 12));
        out[1] = (char)(0x80 | ((code_point >> 6) & 0x3f));
        out[2] = (char)(0x80 | (code_point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | (code_point >> 18));
    out[1] = (char)(0x80 | ((code_point >> 12) & 0x3f));
    out[2] = (char)(0x80 | ((code_point >> 6) & 0x3f));
    out[3] = (char)(0x80 | (code_point & 0x3f));
    return 4;
}
