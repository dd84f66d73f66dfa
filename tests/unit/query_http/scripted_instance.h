/** A query instance that is played by a script: an HTTP server on threads of its own, one for each
 *  connection, which hands each request to a function of the test's and sends the bytes that this
 *  wants sent. */
#ifndef ORDERD_TESTS_SCRIPTED_INSTANCE_H
#define ORDERD_TESTS_SCRIPTED_INSTANCE_H

#include "../unit.h"
#include "base/text.h"
#include "port/query_view.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define SCRIPTED_BYTES_MAX 262144
#define SCRIPTED_CONNECTIONS_MAX 32

struct scripted_request {
    bool whole; /* POST /v1/batch/get, else /v1/batch/statuses */
    size_t count;
    uint64_t ids[QUERY_VIEW_BATCH_MAX];
};

enum scripted_deed {
    SCRIPTED_ANSWER, /* the connection stays open */
    SCRIPTED_CLOSE,  /* after what is to be sent */
    SCRIPTED_HANG    /* until the other side closes */
};

struct scripted_instance;

/** Writes what is to be sent. @thread a connection's. */
typedef enum scripted_deed (*scripted_answer)(struct scripted_instance *instance,
                                              const struct scripted_request *request,
                                              struct text *out);

struct scripted_instance {
    _Atomic(scripted_answer) answer;
    _Atomic(const void *) context; /* the test's */
    _Atomic unsigned connections;
    _Atomic unsigned requests;
    _Atomic unsigned foreign; /* requests that no checker sends */
    _Atomic uint32_t stopping;
    int listener;
    unsigned port;
    pthread_t thread;
    size_t served;
    struct scripted_connection {
        struct scripted_instance *instance;
        int fd;
        pthread_t thread;
    } served_connections[SCRIPTED_CONNECTIONS_MAX];
};

/** Listens on a free port of 127.0.0.1. */
void scripted_start(struct scripted_instance *instance);
void scripted_stop(struct scripted_instance *instance);

/** The head of an answer, with the length of its body. */
void scripted_head(struct text *out, unsigned status, size_t length);

/** An answer with this body. */
void scripted_respond(struct text *out, unsigned status, const void *body, size_t size);

#endif
