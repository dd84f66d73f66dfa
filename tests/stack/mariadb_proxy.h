/** Stands between the store and a server, and breaks connections at a COMMIT on demand: the one
 *  moment at which nobody can know what happened. A thread for each connection; each connection
 *  ends with its client's or its server's. */
#ifndef ORDERD_TESTS_MARIADB_PROXY_H
#define ORDERD_TESTS_MARIADB_PROXY_H

#include "base/bytes.h"

#include <pthread.h>
#include <stdatomic.h>

enum proxy_cut {
    PROXY_CUT_ANSWER, /* the server commits; its answer is lost */
    PROXY_CUT_COMMIT  /* the COMMIT is lost; the server rolls back */
};

struct proxy {
    int listener;
    unsigned port;
    unsigned server_port;
    _Atomic int cuts; /* COMMITs that are still to be cut */
    _Atomic int kind; /* enum proxy_cut */
    _Atomic int open; /* connections */
    pthread_t thread;
};

/** Listens on a free port for a server on `server_port`. False where that does not work. */
bool proxy_start(struct proxy *proxy, unsigned server_port);

/** Call after every client is gone. */
void proxy_stop(struct proxy *proxy);

void proxy_cut(struct proxy *proxy, enum proxy_cut kind, int count);

#endif
