#include "net/timer_wheel.h"

#include <assert.h>

#define MIDDLE_SHIFT 8 /* ticks to slots of the middle level */
#define FAR_SHIFT 14
#define MIDDLE_TICKS (UINT64_C(1) << FAR_SHIFT)
#define FAR_TICKS (UINT64_C(1) << 20)

static uint64_t tick_at_or_after(int64_t time_us) {
    return ((uint64_t)time_us + (1U << TIMER_TICK_SHIFT) - 1) >> TIMER_TICK_SHIFT;
}

void timer_wheel_init(struct timer_wheel *wheel, int64_t now_us) {
    memset(wheel, 0, sizeof(*wheel));
    wheel->tick = (uint64_t)now_us >> TIMER_TICK_SHIFT;
    for (size_t i = 0; i < TIMER_NEAR_SLOTS; i++) {
        list_init(&wheel->near[i]);
    }
    for (size_t i = 0; i < TIMER_FAR_SLOTS; i++) {
        list_init(&wheel->middle[i]);
        list_init(&wheel->far[i]);
    }
}

/** Links the timer where it will be looked at by `earliest`, a tick, or later. */
static void place(struct timer_wheel *wheel, struct timer *timer, uint64_t earliest) {
    uint64_t tick = bytes_max_u64(tick_at_or_after(timer->due_us), earliest);
    uint64_t distance = tick - wheel->tick;
    if (distance < TIMER_NEAR_SLOTS) {
        uint64_t slot = tick % TIMER_NEAR_SLOTS;
        wheel->near_used[slot / 64] |= UINT64_C(1) << slot % 64;
        list_append(&wheel->near[slot], &timer->node);
    } else if (distance < MIDDLE_TICKS) {
        uint64_t slot = (tick >> MIDDLE_SHIFT) % TIMER_FAR_SLOTS;
        wheel->middle_used |= UINT64_C(1) << slot;
        list_append(&wheel->middle[slot], &timer->node);
    } else {
        tick = bytes_min_u64(tick, wheel->tick + FAR_TICKS - 1);
        uint64_t slot = (tick >> FAR_SHIFT) % TIMER_FAR_SLOTS;
        wheel->far_used |= UINT64_C(1) << slot;
        list_append(&wheel->far[slot], &timer->node);
    }
    timer->linked_tick = tick;
}

void timer_wheel_start(struct timer_wheel *wheel, struct timer *timer, int64_t due_us) {
    assert(timer->expired != NULL && due_us >= 0);
    timer->due_us = due_us;
    if (timer_is_running(timer)) {
        if (tick_at_or_after(due_us) >= timer->linked_tick) {
            return;
        }
        list_remove(&timer->node);
    }
    place(wheel, timer, wheel->tick + 1);
}

/** Links the timers of a slot of an upper level again: their time has come nearer. */
static void spread(struct timer_wheel *wheel, struct list_node *slot) {
    struct list_node moved;
    list_init(&moved);
    list_move_all(slot, &moved);
    struct list_node *node;
    while ((node = list_take_first(&moved)) != NULL) {
        place(wheel, CONTAINER_OF(node, struct timer, node), wheel->tick);
    }
}

static void expire(struct timer_wheel *wheel, struct list_node *slot) {
    struct list_node due;
    list_init(&due);
    list_move_all(slot, &due);
    struct list_node *node;
    while ((node = list_take_first(&due)) != NULL) {
        struct timer *timer = CONTAINER_OF(node, struct timer, node);
        if (tick_at_or_after(timer->due_us) > wheel->tick) {
            place(wheel, timer, wheel->tick + 1);
        } else {
            timer->expired(timer);
        }
    }
}

void timer_wheel_advance(struct timer_wheel *wheel, int64_t now_us) {
    uint64_t now = (uint64_t)now_us >> TIMER_TICK_SHIFT;
    while (wheel->tick < now) {
        wheel->tick++;
        uint64_t slot = wheel->tick % TIMER_NEAR_SLOTS;
        if (slot == 0) {
            uint64_t middle = (wheel->tick >> MIDDLE_SHIFT) % TIMER_FAR_SLOTS;
            if (middle == 0) {
                uint64_t far = (wheel->tick >> FAR_SHIFT) % TIMER_FAR_SLOTS;
                wheel->far_used &= ~(UINT64_C(1) << far);
                spread(wheel, &wheel->far[far]);
            }
            wheel->middle_used &= ~(UINT64_C(1) << middle);
            spread(wheel, &wheel->middle[middle]);
        }
        if ((wheel->near_used[slot / 64] & UINT64_C(1) << slot % 64) != 0) {
            wheel->near_used[slot / 64] &= ~(UINT64_C(1) << slot % 64);
            expire(wheel, &wheel->near[slot]);
        }
    }
}

/** How many slots after `slot` the next used one comes, 1 to 64 (then it is `slot` itself); 0 where
 *  none is used. */
static uint64_t slots_until_used(uint64_t used, uint64_t slot) {
    if (used == 0) {
        return 0;
    }
    uint64_t first = (slot + 1) % TIMER_FAR_SLOTS;
    uint64_t turned = first == 0 ? used : (used >> first) | (used << (64 - first));
    return (uint64_t)__builtin_ctzll(turned) + 1;
}

static uint64_t next_near_tick(const struct timer_wheel *wheel) {
    for (uint64_t tick = wheel->tick + 1; tick < wheel->tick + TIMER_NEAR_SLOTS;) {
        uint64_t slot = tick % TIMER_NEAR_SLOTS;
        uint64_t rest = wheel->near_used[slot / 64] >> slot % 64;
        if (rest != 0) {
            return tick + (uint64_t)__builtin_ctzll(rest);
        }
        tick += 64 - slot % 64;
    }
    return UINT64_MAX;
}

int64_t timer_wheel_next_us(const struct timer_wheel *wheel) {
    uint64_t next = next_near_tick(wheel);
    uint64_t middle = wheel->tick >> MIDDLE_SHIFT;
    uint64_t slots = slots_until_used(wheel->middle_used, middle % TIMER_FAR_SLOTS);
    if (slots != 0) {
        next = bytes_min_u64(next, (middle + slots) << MIDDLE_SHIFT);
    }
    uint64_t far = wheel->tick >> FAR_SHIFT;
    slots = slots_until_used(wheel->far_used, far % TIMER_FAR_SLOTS);
    if (slots != 0) {
        next = bytes_min_u64(next, (far + slots) << FAR_SHIFT);
    }
    return next == UINT64_MAX ? INT64_MAX : (int64_t)(next << TIMER_TICK_SHIFT);
}
