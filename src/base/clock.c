#include "base/clock.h"

#include <time.h>

static int64_t read_clock_us(clockid_t id) {
    struct timespec time;
    (void)clock_gettime(id, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

int64_t clock_monotonic_us(void) {
    return read_clock_us(CLOCK_MONOTONIC);
}

static int64_t monotonic_now_us(const struct clock *clock) {
    (void)clock;
    return clock_monotonic_us();
}

const struct clock clock_monotonic = {.now_us = monotonic_now_us};

int64_t clock_wall_us(void) {
    return read_clock_us(CLOCK_REALTIME);
}

#define RELAXED_LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define RELAXED_STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

/* A lead is given back at one part in a thousand. */
#define SLEW_DIVISOR 1000

/* A plan to give back begins this much after it was made. Until then it says the same as the plan
 * before it, which other threads may still use. */
#define SLEW_PAUSE_US 1000000

/** A plan as it was at one moment. */
struct plan_values {
    int64_t base_us;
    int64_t slew_from_us;
    int64_t slew_us;
};

static int64_t given_back_us(const struct plan_values *plan, int64_t monotonic_us) {
    int64_t due_us = (monotonic_us - plan->slew_from_us) / SLEW_DIVISOR;
    return due_us <= 0 ? 0 : due_us < plan->slew_us ? due_us : plan->slew_us;
}

static int64_t time_by_plan(const struct plan_values *plan, int64_t monotonic_us) {
    return monotonic_us + plan->base_us - given_back_us(plan, monotonic_us);
}

/** Never waits: a plan is written over only after the one that followed it was published, so a
 *  number that is still the same says that the values belong together. */
static struct plan_values read_plan(const struct service_clock *service) {
    uint32_t number = atomic_load_explicit(&service->plan, memory_order_acquire);
    for (;;) {
        const struct clock_plan *plan = &service->plans[number % 2];
        struct plan_values values = {RELAXED_LOAD(plan->base_us), RELAXED_LOAD(plan->slew_from_us),
                                     RELAXED_LOAD(plan->slew_us)};
        atomic_thread_fence(memory_order_acquire);
        uint32_t now = atomic_load_explicit(&service->plan, memory_order_acquire);
        if (now == number) {
            return values;
        }
        number = now;
    }
}

static void publish_plan(struct service_clock *service, struct plan_values values) {
    uint32_t number = RELAXED_LOAD(service->plan) + 1;
    struct clock_plan *plan = &service->plans[number % 2];
    /* Whoever sees a value from below also sees that the plan before it was published. */
    atomic_thread_fence(memory_order_release);
    RELAXED_STORE(plan->base_us, values.base_us);
    RELAXED_STORE(plan->slew_from_us, values.slew_from_us);
    RELAXED_STORE(plan->slew_us, values.slew_us);
    atomic_store_explicit(&service->plan, number, memory_order_release);
}

static int64_t service_clock_now(const struct clock *clock) {
    const struct service_clock *service = (const struct service_clock *)clock;
    struct plan_values plan = read_plan(service);
    return time_by_plan(&plan, clock_monotonic_us());
}

void service_clock_init(struct service_clock *service, int64_t floor_us) {
    int64_t monotonic_us = clock_monotonic_us();
    int64_t wall_us = clock_wall_us();
    int64_t start_us = wall_us > floor_us ? wall_us : floor_us;
    service->clock.now_us = service_clock_now;
    atomic_init(&service->plan, 0);
    atomic_init(&service->lead_us, start_us - wall_us);
    publish_plan(service, (struct plan_values){
                              .base_us = start_us - monotonic_us,
                              .slew_from_us = monotonic_us,
                              .slew_us = start_us - wall_us,
                          });
}

void service_clock_raise(struct service_clock *service, int64_t floor_us) {
    int64_t now_us = service_clock_now(&service->clock);
    if (now_us < floor_us) {
        struct plan_values plan = read_plan(service);
        plan.base_us += floor_us - now_us;
        publish_plan(service, plan);
    }
}

void service_clock_adjust(struct service_clock *service) {
    struct plan_values plan = read_plan(service);
    int64_t monotonic_us = clock_monotonic_us();
    int64_t now_us = time_by_plan(&plan, monotonic_us);
    int64_t lead_us = now_us - clock_wall_us();
    /* Time must not go back from one plan to the next, for no thread. So a plan to give back is
     * left alone until it is done, and the next one begins later and where that one ended. */
    if (lead_us < 0) {
        plan = (struct plan_values){.base_us = now_us - lead_us - monotonic_us};
        publish_plan(service, plan);
        lead_us = 0;
    } else if (lead_us > 0 && given_back_us(&plan, monotonic_us) == plan.slew_us) {
        plan.base_us = now_us - monotonic_us;
        plan.slew_from_us = monotonic_us + SLEW_PAUSE_US;
        plan.slew_us = lead_us;
        publish_plan(service, plan);
    }
    RELAXED_STORE(service->lead_us, lead_us);
}

int64_t service_clock_lead_us(const struct service_clock *service) {
    return atomic_load_explicit(&service->lead_us, memory_order_relaxed);
}
