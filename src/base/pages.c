#include "base/pages.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

void *pages_reserve(size_t size) {
    size_t rounded = bytes_align_up(size, HUGE_PAGE_BYTES);
    char *area = mmap(NULL, rounded + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) {
        return NULL;
    }
    char *aligned = (char *)bytes_align_up((uintptr_t)area, HUGE_PAGE_BYTES);
    size_t before = (size_t)(aligned - area);
    if (before > 0) {
        (void)munmap(area, before);
    }
    (void)munmap(aligned + rounded, HUGE_PAGE_BYTES - before);
    /* Only a hint: small pages are slower, not wrong. */
    (void)madvise(aligned, rounded, MADV_HUGEPAGE);
    return aligned;
}

void pages_release(void *memory, size_t size) {
    if (memory != NULL) {
        (void)munmap(memory, bytes_align_up(size, HUGE_PAGE_BYTES));
    }
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older headers lack it */
#endif

void pages_populate(void *memory, size_t size) {
    (void)madvise(memory, bytes_align_up(size, HUGE_PAGE_BYTES), MADV_POPULATE_WRITE);
}

void pages_clear(void *memory, size_t size) {
    /* Private anonymous pages read as zero after this. Where it is refused, write the zeroes. */
    if (madvise(memory, bytes_align_up(size, HUGE_PAGE_BYTES), MADV_DONTNEED) != 0) {
        memset(memory, 0, size);
    }
}

void pages_keep_small(void) {
    /* Where it is refused the pages are larger, not wrong. */
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

bool pages_huge_available(void) {
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    if (file == NULL) {
        return false;
    }
    char line[128] = "";
    bool read = fgets(line, sizeof(line), file) != NULL;
    (void)fclose(file);
    return read && strstr(line, "[never]") == NULL;
}
