/** Large zeroed memory straight from the system, on huge pages where it gives them.
 *  @thread any. */
#ifndef ORDERD_BASE_PAGES_H
#define ORDERD_BASE_PAGES_H

#include "base/bytes.h"

/** Reserves `size` zeroed bytes, aligned to 2 MiB; pages appear as they are touched. NULL where
 *  the system refuses. Release with pages_release and the same size. */
void *pages_reserve(size_t size);
void pages_release(void *memory, size_t size);

/** Has the system provide all of it now, so that no first touch waits for a page later: for memory
 *  that is touched at random. Where it cannot, pages still appear as they are touched. */
void pages_populate(void *memory, size_t size);

/** Makes all of it zero again, and gives the pages back to the system. */
void pages_clear(void *memory, size_t size);

/** From now on this process gets no huge pages: for one that reserves much and touches little of
 * it, in which each first touch would take 2 MiB. */
void pages_keep_small(void);

/** True where the system lets programs use transparent huge pages. */
bool pages_huge_available(void);

#endif
