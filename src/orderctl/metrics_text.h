/** Prometheus' text format 0.0.4, read: the samples of one scrape, summed over their labels, and
 *  what two scrapes say about the time between them. Pure but for the memory that a scrape owns. */
#ifndef ORDERD_ORDERCTL_METRICS_TEXT_H
#define ORDERD_ORDERCTL_METRICS_TEXT_H

#include "base/bytes.h"

#define METRICS_LIMITS_MAX 64

struct metrics_bucket {
    double limit; /* inclusive; infinite for the last */
    double count; /* of this and all lower ones */
};

struct metrics_sample {
    struct slice name;   /* into the scrape's text; a histogram's without _bucket, _sum, _count */
    double value;        /* of a counter or gauge; a histogram's sum */
    double count;        /* a histogram's */
    size_t bucket_count; /* 0: no histogram */
    struct metrics_bucket buckets[METRICS_LIMITS_MAX];
};

struct metrics_scrape {
    char *text; /* owned; a zero byte after each line */
    size_t text_size;
    struct metrics_sample *samples; /* owned */
    size_t sample_count;
    size_t sample_capacity;
};

/** Reads a scrape; lines that are none are passed over. False where memory is short. */
MUST_CHECK bool metrics_scrape_read(struct metrics_scrape *scrape, struct slice text);
void metrics_scrape_release(struct metrics_scrape *scrape);

/** NULL where there is no such sample. */
const struct metrics_sample *metrics_find(const struct metrics_scrape *scrape, const char *name);

/** The value of the sample that has the label `name`=`value`, which no other sample of that name
 * has. False where there is none. */
MUST_CHECK bool metrics_find_labelled(const struct metrics_scrape *scrape, const char *metric,
                                      const char *name, const char *value, double *number);

/** The values that the label `name` has in the samples of one name, in their order; at most `max`.
 *  They point into the scrape's text. Returns how many there are. */
size_t metrics_label_values(const struct metrics_scrape *scrape, const char *metric,
                            const char *name, struct slice *values, size_t max);

/** How much a counter, or a histogram's sum, has grown; its whole value without a `before`. */
double metrics_growth(const struct metrics_sample *before, const struct metrics_sample *after);

/** The limit that `fraction` of the values between the scrapes do not pass, interpolated within its
 *  bucket; negative where there were none. `before` may be NULL. */
double metrics_quantile(const struct metrics_sample *before, const struct metrics_sample *after,
                        double fraction);

#endif
