/** What the disk gives a journal at best: synced writes one after the other into a file whose
 *  blocks were written before, past the page cache. No journal that syncs each frame is faster.
 *
 *  Usage: sync_bandwidth FILE BYTES SECONDS
 *  BYTES: of one write, a multiple of 4096. Prints one JSON object; the file is removed. */
#include "base/bytes.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES ((size_t)1 << 30)
#define BLOCK_BYTES 4096

static double now_seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/** Writes the whole file once, so that what is measured changes no metadata. */
static bool prepare(int fd, const char *data, size_t size) {
    for (size_t at = 0; at + size <= FILE_BYTES; at += size) {
        if (pwrite(fd, data, size, (off_t)at) != (ssize_t)size) {
            return false;
        }
    }
    return fsync(fd) == 0;
}

static bool measure(const char *path, const char *data, size_t size, double seconds) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_DSYNC | O_CLOEXEC, 0600);
    bool well = fd >= 0 && prepare(fd, data, size);
    uint64_t count = 0;
    size_t at = 0;
    double begin = now_seconds();
    double elapsed = 0;
    while (well && elapsed < seconds) {
        well = pwrite(fd, data, size, (off_t)at) == (ssize_t)size;
        at = at + 2 * size <= FILE_BYTES ? at + size : 0;
        count++;
        elapsed = now_seconds() - begin;
    }
    if (!well) {
        perror(path);
    } else {
        (void)printf("{\"bench\":\"synced writes\",\"bytes\":%zu,\"ops\":%llu,\"seconds\":%.3f,"
                     "\"bytes_per_s\":%.0f}\n",
                     size, (unsigned long long)count, elapsed,
                     (double)count * (double)size / elapsed);
    }
    if (fd >= 0) {
        (void)close(fd);
        (void)unlink(path);
    }
    return well;
}

int main(int argc, char **argv) {
    size_t size = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    double seconds = argc == 4 ? strtod(argv[3], NULL) : 0;
    if (size == 0 || size % BLOCK_BYTES != 0 || size > FILE_BYTES / 2 || seconds <= 0) {
        (void)fprintf(stderr, "usage: sync_bandwidth FILE BYTES SECONDS\n");
        return 2;
    }
    char *data = aligned_alloc(BLOCK_BYTES, size);
    if (data == NULL) {
        (void)fprintf(stderr, "sync_bandwidth: no memory\n");
        return EXIT_FAILURE;
    }
    memset(data, 'x', size);
    bool well = measure(argv[1], data, size, seconds);
    free(data);
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}
