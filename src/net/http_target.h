/** The request target and the Host field: which forms are taken, and which characters (RFC 9112
 *  section 3.2, RFC 3986). Pure functions, any thread. */
#ifndef ORDERD_NET_HTTP_TARGET_H
#define ORDERD_NET_HTTP_TARGET_H

#include "net/http_parser.h"

/** Splits head->target into path and query. NULL when it is well-formed, else what is wrong with
 *  it. Of an unknown method any target is taken, as a path, if its characters are those of one. */
MUST_CHECK const char *http_target_parse(struct http_head *head);

/** True for `host` or `host:port`, where host is a name, an IPv4 address or an IPv6 address in
 *  brackets. */
bool http_host_is_valid(struct slice host);

#endif
