/* sim [--seeds N] [--first S] [--seed S] [--steps N] [--verbose]
 *
 * Runs the simulation on N seeds (200) from S (1) on, a process each, and prints TAP: one test a
 * seed, one that a seed gives the same run twice, and one that everything that the simulation is
 * for did happen. --seed runs one, in this process, so that a debugger sees it. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEEDS_DEFAULT 200
#define STEPS_DEFAULT 30000

/* Fewer seeds may by chance never do some rare thing. */
#define SEEDS_FOR_COVERAGE 100

struct arguments {
    uint64_t seeds;
    uint64_t first;
    uint64_t steps;
    bool single;
    bool verbose;
};

/** What a child tells. */
struct report {
    uint64_t hash;
    struct sim_counters counters;
};

static bool take_number(const char *text, uint64_t *number) {
    char *end = NULL;
    *number = text == NULL ? 0 : strtoull(text, &end, 10);
    return end != NULL && end != text && *end == 0;
}

static bool take_arguments(int count, char **texts, struct arguments *arguments) {
    *arguments = (struct arguments){.seeds = SEEDS_DEFAULT, .first = 1, .steps = STEPS_DEFAULT};
    for (int i = 1; i < count; i++) {
        const char *value = texts[i + 1]; /* NULL behind the last one */
        bool good = true;
        if (strcmp(texts[i], "--verbose") == 0) {
            arguments->verbose = true;
            continue;
        }
        if (strcmp(texts[i], "--seeds") == 0) {
            good = take_number(value, &arguments->seeds);
        } else if (strcmp(texts[i], "--first") == 0) {
            good = take_number(value, &arguments->first);
        } else if (strcmp(texts[i], "--steps") == 0) {
            good = take_number(value, &arguments->steps);
        } else if (strcmp(texts[i], "--seed") == 0) {
            good = take_number(value, &arguments->first);
            arguments->single = true;
        } else {
            good = false;
        }
        if (!good) {
            return false;
        }
        i++;
    }
    return true;
}

static void add_counters(struct sim_counters *sum, const struct sim_counters *counters) {
#define X(name, must_happen) sum->name += counters->name;
    SIM_COUNTERS(X)
#undef X
}

/** Runs a seed in a process of its own. False where it did not end well. */
static bool run_seed(const struct arguments *arguments, uint64_t seed, struct report *report) {
    int ends[2];
    (void)fflush(stdout);
    if (pipe(ends) != 0) {
        return false;
    }
    pid_t child = fork();
    if (child == 0) {
        struct sim *sim = calloc(1, sizeof(*sim));
        (void)close(ends[0]);
        sim_run(sim, seed, arguments->steps, arguments->verbose);
        struct report own = {sim->hash, sim->counters};
        free(sim);
        bool told = write(ends[1], &own, sizeof(own)) == (ssize_t)sizeof(own);
        (void)close(ends[1]);
        exit(told ? 0 : 1);
    }
    (void)close(ends[1]);
    bool heard = read(ends[0], report, sizeof(*report)) == (ssize_t)sizeof(*report);
    (void)close(ends[0]);
    int status = 1;
    (void)waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        printf("# seed %llu: ended by signal %d\n", (unsigned long long)seed, WTERMSIG(status));
    }
    return heard && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool run_one(const struct arguments *arguments) {
    struct sim *sim = calloc(1, sizeof(*sim));
    printf("1..1\n");
    sim_run(sim, arguments->first, arguments->steps, arguments->verbose);
    printf("ok 1 - seed %llu, hash %016llx\n", (unsigned long long)arguments->first,
           (unsigned long long)sim->hash);
#define X(name, must_happen)                                                                       \
    printf("# %-28s %llu\n", #name, (unsigned long long)sim->counters.name);
    SIM_COUNTERS(X)
#undef X
    free(sim);
    return true;
}

/** Prints the counters; returns how many are 0 that must not be. */
static unsigned print_counters(const struct sim_counters *sum) {
    unsigned missing = 0;
#define X(name, must_happen)                                                                       \
    printf("# %-28s %llu\n", #name, (unsigned long long)sum->name);                                \
    missing += (must_happen) && sum->name == 0 ? 1 : 0;
    SIM_COUNTERS(X)
#undef X
    return missing;
}

static bool run_many(const struct arguments *arguments) {
    struct sim_counters sum = {0};
    struct report report;
    struct report again;
    bool all_well = true;
    printf("1..%llu\n", (unsigned long long)arguments->seeds + 2);
    for (uint64_t i = 0; i < arguments->seeds; i++) {
        uint64_t seed = arguments->first + i;
        memset(&report, 0, sizeof(report));
        bool well = run_seed(arguments, seed, &report);
        printf("%sok %llu - seed %llu\n", well ? "" : "not ", (unsigned long long)i + 1,
               (unsigned long long)seed);
        if (!well) {
            printf("# again with: sim --seed %llu --steps %llu --verbose\n",
                   (unsigned long long)seed, (unsigned long long)arguments->steps);
        }
        add_counters(&sum, &report.counters);
        all_well = all_well && well;
    }
    bool same = run_seed(arguments, arguments->first, &report) &&
                run_seed(arguments, arguments->first, &again) && report.hash == again.hash;
    printf("%sok %llu - the same seed gives the same run\n", same ? "" : "not ",
           (unsigned long long)arguments->seeds + 1);
    unsigned missing = print_counters(&sum);
    bool covered = missing == 0 || arguments->seeds < SEEDS_FOR_COVERAGE;
    printf("%sok %llu - everything that may happen did happen\n", covered ? "" : "not ",
           (unsigned long long)arguments->seeds + 2);
    return all_well && same && covered;
}

int main(int count, char **texts) {
    struct arguments arguments;
    if (!take_arguments(count, texts, &arguments)) {
        (void)fprintf(stderr,
                      "sim: expected [--seeds N] [--first S] [--seed S] [--steps N] [--verbose]\n");
        return 2;
    }
    bool well = arguments.single ? run_one(&arguments) : run_many(&arguments);
    return well ? 0 : 1;
}
