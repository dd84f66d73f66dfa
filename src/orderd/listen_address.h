/** The address that the daemon listens on, judged before anything is opened.
 *  Any thread; nothing is kept. */
#ifndef ORDERD_ORDERD_LISTEN_ADDRESS_H
#define ORDERD_ORDERD_LISTEN_ADDRESS_H

#include "base/bytes.h"
#include "base/fault.h"

#include <sys/socket.h>

struct listen_address {
    struct sockaddr_storage address;
    socklen_t size;
    bool loopback; /* only this machine reaches it */
};

/** Reads "127.0.0.1:8080" or "[::1]:8080". False where the text is no such address. */
MUST_CHECK bool listen_address_parse(const char *text, struct listen_address *address);

/** True where a connection to one could be taken for one to the other: the workers share their
 * port, so the system would let both be listened on. Port 0 is a port of its own. */
bool listen_address_overlaps(const struct listen_address *left, const struct listen_address *right);

/** True where nobody listens on it yet. The workers share their port, which would let them share
 *  that of another process too: half of the connections would go there. */
MUST_CHECK bool listen_address_is_free(const struct listen_address *address, struct fault *fault);

#endif
