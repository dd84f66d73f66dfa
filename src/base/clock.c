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

int64_t clock_wall_us(void) {
    return read_clock_us(CLOCK_REALTIME);
}

static int64_t service_clock_now(const struct clock *clock) {
    const struct service_clock *service = (const struct service_clock *)clock;
    return clock_monotonic_us() + atomic_load_explicit(&service->base_us, memory_order_relaxed);
}

void service_clock_init(struct service_clock *service, int64_t floor_us) {
    int64_t monotonic_us = clock_monotonic_us();
    int64_t wall_us = clock_wall_us();
    int64_t start_us = wall_us > floor_us ? wall_us : floor_us;
    service->clock.now_us = service_clock_now;
    atomic_init(&service->base_us, start_us - monotonic_us);
    atomic_init(&service->lead_us, start_us - wall_us);
    service->adjusted_at_us = monotonic_us;
}

void service_clock_raise(struct service_clock *service, int64_t floor_us) {
    int64_t now_us = service_clock_now(&service->clock);
    if (now_us < floor_us) {
        atomic_fetch_add_explicit(&service->base_us, floor_us - now_us, memory_order_relaxed);
    }
}

void service_clock_adjust(struct service_clock *service) {
    int64_t monotonic_us = clock_monotonic_us();
    int64_t base_us = atomic_load_explicit(&service->base_us, memory_order_relaxed);
    int64_t lead_us = monotonic_us + base_us - clock_wall_us();
    if (lead_us < 0) {
        base_us -= lead_us;
        lead_us = 0;
    } else {
        /* One microsecond a millisecond: slower than time itself, so the clock still rises. */
        int64_t give_back_us = (monotonic_us - service->adjusted_at_us) / 1000;
        give_back_us = give_back_us < lead_us ? give_back_us : lead_us;
        base_us -= give_back_us;
        lead_us -= give_back_us;
    }
    service->adjusted_at_us = monotonic_us;
    atomic_store_explicit(&service->base_us, base_us, memory_order_relaxed);
    atomic_store_explicit(&service->lead_us, lead_us, memory_order_relaxed);
}

int64_t service_clock_lead_us(const struct service_clock *service) {
    return atomic_load_explicit(&service->lead_us, memory_order_relaxed);
}
