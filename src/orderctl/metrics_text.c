#include "orderctl/metrics_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SAMPLES_FIRST 64

/** One line: `name{labels} value`. */
struct sample_line {
    struct slice name;
    struct slice labels;
    double value;
};

static size_t name_length(const char *at, const char *end) {
    const char *begin = at;
    while (at < end && (*at == '_' || *at == ':' || (*at >= '0' && *at <= '9') ||
                        (*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z'))) {
        at++;
    }
    return (size_t)(at - begin);
}

/** The closing brace of labels that begin at `at`, past quoted ones; NULL where there is none. */
static const char *labels_end(const char *at, const char *end) {
    bool quoted = false;
    for (; at < end; at++) {
        if (quoted && *at == '\\') {
            at++;
        } else if (*at == '"') {
            quoted = !quoted;
        } else if (*at == '}' && !quoted) {
            return at;
        }
    }
    return NULL;
}

/** @param end where a zero byte stands: strtod stops there. */
static bool read_line(const char *at, const char *end, struct sample_line *line) {
    line->name = (struct slice){at, name_length(at, end)};
    line->labels = (struct slice){at, 0};
    at += line->name.size;
    if (line->name.size == 0) {
        return false;
    }
    if (at < end && *at == '{') {
        const char *close = labels_end(at + 1, end);
        if (close == NULL) {
            return false;
        }
        line->labels = (struct slice){at + 1, (size_t)(close - at - 1)};
        at = close + 1;
    }
    char *number_end;
    line->value = strtod(at, &number_end);
    return number_end != at;
}

static bool cut_suffix(struct slice *name, const char *suffix) {
    size_t size = strlen(suffix);
    if (name->size <= size || memcmp(name->data + name->size - size, suffix, size) != 0) {
        return false;
    }
    name->size -= size;
    return true;
}

/** The value of the label `le`; NaN where there is none. */
static double limit_of(struct slice labels) {
    static const char key[] = "le=\"";
    const char *found = memmem(labels.data, labels.size, key, sizeof(key) - 1);
    if (found == NULL || (found != labels.data && found[-1] != ',')) {
        return NAN;
    }
    return strtod(found + sizeof(key) - 1, NULL);
}

static struct metrics_sample *find_or_add(struct metrics_scrape *scrape, struct slice name) {
    /* Samples of one name stand together: the last one is nearly always the one. */
    for (size_t i = scrape->sample_count; i > 0; i--) {
        if (slice_equal(scrape->samples[i - 1].name, name)) {
            return &scrape->samples[i - 1];
        }
    }
    if (scrape->sample_count == scrape->sample_capacity) {
        size_t capacity =
            scrape->sample_capacity == 0 ? SAMPLES_FIRST : scrape->sample_capacity * 2;
        struct metrics_sample *grown = realloc(scrape->samples, capacity * sizeof(*grown));
        if (grown == NULL) {
            return NULL;
        }
        scrape->samples = grown;
        scrape->sample_capacity = capacity;
    }
    struct metrics_sample *sample = &scrape->samples[scrape->sample_count++];
    memset(sample, 0, sizeof(*sample));
    sample->name = name;
    return sample;
}

static void add_bucket(struct metrics_sample *sample, double limit, double count) {
    for (size_t i = 0; i < sample->bucket_count; i++) {
        if (sample->buckets[i].limit == limit) {
            sample->buckets[i].count += count; /* of another label */
            return;
        }
    }
    if (sample->bucket_count < METRICS_LIMITS_MAX) {
        sample->buckets[sample->bucket_count++] = (struct metrics_bucket){limit, count};
    }
}

static bool take_line(struct metrics_scrape *scrape, struct sample_line line) {
    struct slice name = line.name;
    double limit = limit_of(line.labels);
    bool is_bucket = !isnan(limit) && cut_suffix(&name, "_bucket");
    struct slice base = line.name;
    bool is_sum = !is_bucket && cut_suffix(&base, "_sum");
    bool is_count = !is_bucket && !is_sum && cut_suffix(&base, "_count");
    const struct metrics_sample *last =
        scrape->sample_count == 0 ? NULL : &scrape->samples[scrape->sample_count - 1];
    if ((is_sum || is_count) && last != NULL && last->bucket_count > 0 &&
        slice_equal(last->name, base)) {
        name = base; /* a histogram's: its buckets stand before */
    } else {
        is_sum = false;
        is_count = false;
    }
    struct metrics_sample *sample = find_or_add(scrape, name);
    if (sample == NULL) {
        return false;
    }
    if (is_bucket) {
        add_bucket(sample, limit, line.value);
    } else if (is_count) {
        sample->count += line.value;
    } else {
        sample->value += line.value;
    }
    return true;
}

bool metrics_scrape_read(struct metrics_scrape *scrape, struct slice text) {
    *scrape = (struct metrics_scrape){.text = malloc(text.size + 1), .text_size = text.size};
    if (scrape->text == NULL) {
        return false;
    }
    memcpy(scrape->text, text.data, text.size);
    scrape->text[text.size] = 0;
    for (char *at = scrape->text; *at != 0;) {
        char *end = at + strcspn(at, "\n");
        bool last = *end == 0;
        struct sample_line line;
        *end = 0;
        if (*at != '#' && read_line(at, end, &line) && !take_line(scrape, line)) {
            metrics_scrape_release(scrape);
            return false;
        }
        at = last ? end : end + 1;
    }
    return true;
}

void metrics_scrape_release(struct metrics_scrape *scrape) {
    free(scrape->text);
    free(scrape->samples);
    *scrape = (struct metrics_scrape){.text = NULL};
}

const struct metrics_sample *metrics_find(const struct metrics_scrape *scrape, const char *name) {
    for (size_t i = 0; i < scrape->sample_count; i++) {
        if (slice_equal(scrape->samples[i].name, slice_from_text(name))) {
            return &scrape->samples[i];
        }
    }
    return NULL;
}

/** The value of a label, up to its closing quote; no data where there is no such label. */
static struct slice label_value(struct slice labels, const char *name) {
    char begin[64];
    int size = snprintf(begin, sizeof(begin), "%s=\"", name);
    const char *end = labels.data + labels.size;
    const char *at = labels.data;
    while (size > 0 && (size_t)size < sizeof(begin) && at < end) {
        const char *found = memmem(at, (size_t)(end - at), begin, (size_t)size);
        if (found == NULL) {
            break;
        }
        at = found + size;
        if (found == labels.data || found[-1] == ',') {
            const char *quote = memchr(at, '"', (size_t)(end - at));
            return (struct slice){at, (size_t)((quote == NULL ? end : quote) - at)};
        }
    }
    return (struct slice){NULL, 0};
}

bool metrics_find_labelled(const struct metrics_scrape *scrape, const char *metric,
                           const char *name, const char *value, double *number) {
    const char *end = scrape->text + scrape->text_size;
    for (const char *at = scrape->text; at < end; at += strlen(at) + 1) {
        struct sample_line line;
        if (*at == '#' || !read_line(at, at + strlen(at), &line) ||
            !slice_equal(line.name, slice_from_text(metric))) {
            continue;
        }
        struct slice found = label_value(line.labels, name);
        if (found.data != NULL && slice_equal(found, slice_from_text(value))) {
            *number = line.value;
            return true;
        }
    }
    return false;
}

size_t metrics_label_values(const struct metrics_scrape *scrape, const char *metric,
                            const char *name, struct slice *values, size_t max) {
    const char *end = scrape->text + scrape->text_size;
    size_t count = 0;
    for (const char *at = scrape->text; at < end && count < max; at += strlen(at) + 1) {
        struct sample_line line;
        if (*at == '#' || !read_line(at, at + strlen(at), &line) ||
            !slice_equal(line.name, slice_from_text(metric))) {
            continue;
        }
        values[count] = label_value(line.labels, name);
        count += values[count].data != NULL ? 1 : 0;
    }
    return count;
}

double metrics_growth(const struct metrics_sample *before, const struct metrics_sample *after) {
    double growth = after->value - (before == NULL ? 0 : before->value);
    return growth < 0 ? after->value : growth; /* less than before: the service was restarted */
}

static double count_between(const struct metrics_sample *before, const struct metrics_sample *after,
                            size_t bucket) {
    double earlier = 0;
    for (size_t i = 0; before != NULL && i < before->bucket_count; i++) {
        if (before->buckets[i].limit == after->buckets[bucket].limit) {
            earlier = before->buckets[i].count;
        }
    }
    return after->buckets[bucket].count - earlier;
}

double metrics_quantile(const struct metrics_sample *before, const struct metrics_sample *after,
                        double fraction) {
    if (after->bucket_count == 0) {
        return -1;
    }
    if (before != NULL && before->count > after->count) {
        before = NULL; /* restarted in between */
    }
    double total = count_between(before, after, after->bucket_count - 1);
    double lower_limit = 0;
    double lower_count = 0;
    for (size_t i = 0; i < after->bucket_count && total > 0; i++) {
        double count = count_between(before, after, i);
        double limit = after->buckets[i].limit;
        if (count >= total * fraction) {
            double share = (total * fraction - lower_count) / (count - lower_count);
            return isinf(limit) ? lower_limit : lower_limit + (limit - lower_limit) * share;
        }
        lower_limit = limit;
        lower_count = count;
    }
    return -1;
}
