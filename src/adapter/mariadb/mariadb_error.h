/** What a statement came to, told from the number of the server's or the client library's error.
 *  Pure, any thread. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_ERROR_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_ERROR_H

#include "base/bytes.h"

enum mariadb_status {
    MARIADB_OK,
    MARIADB_LOST,      /* no answer: the connection is gone; what was sent may have been done */
    MARIADB_DEADLOCK,  /* the transaction was rolled back for another one; it may be begun again */
    MARIADB_LOCKED,    /* somebody holds a row longer than we wait; the transaction must end */
    MARIADB_DUPLICATE, /* the key exists */
    MARIADB_REFUSED    /* any other error: the same statement would meet it again */
};

/** @param error_number as mysql_errno gives it; 0 is no error. */
enum mariadb_status mariadb_status_from_error(unsigned error_number);

/** For messages. */
const char *mariadb_status_name(enum mariadb_status status);

#endif
