#include "pipeline/tenure.h"

#include <stdio.h>

static void answered(struct port_request *request) {
    struct tenure *tenure = CONTAINER_OF(request, struct tenure, request.request);
    int64_t now_us = clock_now_us(tenure->monotonic);
    tenure->busy = false;
    if (tenure->request.result == ORDER_RESULT_STORED) {
        tenure->held_until_us = tenure->request.held_until_us;
    } else if (tenure->request.result == ORDER_RESULT_BUSY) {
        tenure->held_until_us = 0; /* somebody else has it */
    }
    tenure->ask_at_us = now_us + tenure->request.length_us / 3;
}

static void released(struct port_request *request) {
    struct tenure *tenure = CONTAINER_OF(request, struct tenure, request.request);
    tenure->busy = false;
}

void tenure_init(struct tenure *tenure, struct lease_port *port, const struct clock *monotonic,
                 struct mailbox *mailbox, const char *name, int64_t length_us) {
    *tenure = (struct tenure){
        .port = port,
        .monotonic = monotonic,
        .request = {.request = {.done = answered, .mailbox = mailbox}, .length_us = length_us},
    };
    (void)snprintf(tenure->request.name, sizeof(tenure->request.name), "%s", name);
}

int64_t tenure_step(struct tenure *tenure) {
    int64_t now_us = clock_now_us(tenure->monotonic);
    if (tenure->busy || tenure->stopping) {
        return INT64_MAX;
    }
    if (now_us < tenure->ask_at_us) {
        return tenure->ask_at_us;
    }
    tenure->busy = true;
    if (tenure->port->ops->acquire(tenure->port, &tenure->request) != PORT_TAKEN) {
        tenure->busy = false;
        tenure->ask_at_us = now_us + tenure->request.length_us / 10;
        return tenure->ask_at_us;
    }
    return INT64_MAX;
}

bool tenure_holds(const struct tenure *tenure) {
    return !tenure->stopping && clock_now_us(tenure->monotonic) < tenure->held_until_us;
}

void tenure_stop(struct tenure *tenure) {
    bool held = tenure_holds(tenure);
    tenure->stopping = true;
    if (tenure->busy || !held) {
        return; /* it ends by itself */
    }
    tenure->request.request.done = released;
    tenure->busy = tenure->port->ops->release(tenure->port, &tenure->request) == PORT_TAKEN;
}

bool tenure_is_busy(const struct tenure *tenure) {
    return tenure->busy;
}
