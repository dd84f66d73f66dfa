#include "orderctl/bench_ids.h"

#include "base/pages.h"

#include <errno.h>
#include <stdio.h>

static void shuffle(struct bench_ids *ids, uint64_t seed) {
    struct random_source random = {seed};
    for (size_t i = ids->count - 1; i > 0; i--) {
        size_t other = (size_t)random_below(&random, i + 1);
        uint64_t swapped = ids->ids[i];
        ids->ids[i] = ids->ids[other];
        ids->ids[other] = swapped;
    }
}

static bool reserve(struct bench_ids *ids, size_t count, size_t run_max, struct fault *fault) {
    ids->count = count;
    ids->memory_bytes = (count + run_max) * sizeof(uint64_t);
    ids->ids = pages_reserve(ids->memory_bytes);
    if (ids->ids == NULL) {
        fault_set(fault, "no memory for %zu ids", count);
    }
    return ids->ids != NULL;
}

/** Brings them into an order that memory would not like, and repeats the first behind the last. */
static void arrange(struct bench_ids *ids, size_t run_max, uint64_t seed) {
    shuffle(ids, seed);
    for (size_t i = 0; i < run_max; i++) {
        ids->ids[ids->count + i] = ids->ids[i % ids->count];
    }
}

static bool read_file(struct bench_ids *ids, FILE *file, const char *path, size_t run_max,
                      struct fault *fault) {
    if (fseeko(file, 0, SEEK_END) != 0) {
        fault_set_errno(fault, errno, "%s: cannot be read", path);
        return false;
    }
    off_t size = ftello(file);
    if (size <= 0 || (size_t)size % sizeof(uint64_t) != 0) {
        fault_set(fault, "%s: expected order ids of 8 bytes each", path);
        return false;
    }
    rewind(file);
    if (!reserve(ids, (size_t)size / sizeof(uint64_t), run_max, fault)) {
        return false;
    }
    if (fread(ids->ids, sizeof(uint64_t), ids->count, file) != ids->count) {
        fault_set(fault, "%s: cannot be read whole", path);
        return false;
    }
    return true;
}

bool bench_ids_read(struct bench_ids *ids, const char *path, size_t run_max, uint64_t seed,
                    struct fault *fault) {
    *ids = (struct bench_ids){.ids = NULL};
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fault_set_errno(fault, errno, "%s: cannot be opened", path);
        return false;
    }
    bool good = read_file(ids, file, path, run_max, fault);
    (void)fclose(file);
    if (!good) {
        bench_ids_release(ids);
        return false;
    }
    arrange(ids, run_max, seed);
    return true;
}

bool bench_ids_copy(struct bench_ids *ids, const uint64_t *from, size_t count, size_t run_max,
                    uint64_t seed, struct fault *fault) {
    *ids = (struct bench_ids){.ids = NULL};
    if (!reserve(ids, count, run_max, fault)) {
        return false;
    }
    memcpy(ids->ids, from, count * sizeof(uint64_t));
    arrange(ids, run_max, seed);
    return true;
}

void bench_ids_release(struct bench_ids *ids) {
    if (ids->ids != NULL) {
        pages_release(ids->ids, ids->memory_bytes);
    }
    ids->ids = NULL;
}

bool bench_ids_can_write(const char *path, struct fault *fault) {
    FILE *file = fopen(path, "ae");
    if (file == NULL) {
        fault_set_errno(fault, errno, "%s: cannot be made", path);
        return false;
    }
    (void)fclose(file);
    return true;
}

bool bench_ids_write(const char *path, const uint64_t *ids, size_t count, struct fault *fault) {
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        fault_set_errno(fault, errno, "%s: cannot be made", path);
        return false;
    }
    bool written = fwrite(ids, sizeof(*ids), count, file) == count;
    written = fclose(file) == 0 && written;
    if (!written) {
        fault_set_errno(fault, errno, "%s: cannot be written", path);
    }
    return written;
}
