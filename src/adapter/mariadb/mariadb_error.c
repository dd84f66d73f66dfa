#include "adapter/mariadb/mariadb_error.h"

#include <errmsg.h>
#include <mysqld_error.h>

/* MySQL's numbers that MariaDB's header does not have, or has for something else. */
#define MYSQL_ER_LOCK_NOWAIT 3572
#define MYSQL_ER_DISCONNECTED 4031 /* idle for longer than wait_timeout */

enum mariadb_status mariadb_status_from_error(unsigned error_number) {
    switch (error_number) {
    case 0:
        return MARIADB_OK;
    case ER_LOCK_DEADLOCK:
    case ER_CHECKREAD: /* the row was changed since it was read (innodb_snapshot_isolation) */
    case ER_QUERY_INTERRUPTED:
        return MARIADB_DEADLOCK;
    case ER_LOCK_WAIT_TIMEOUT:
    case MYSQL_ER_LOCK_NOWAIT:
        return MARIADB_LOCKED;
    case ER_DUP_ENTRY:
    case ER_DUP_ENTRY_WITH_KEY_NAME:
        return MARIADB_DUPLICATE;
    case ER_SERVER_SHUTDOWN:
    case ER_NORMAL_SHUTDOWN:
    case ER_NEW_ABORTING_CONNECTION:
    case ER_ABORTING_CONNECTION:
    case ER_NET_READ_ERROR:
    case ER_NET_READ_INTERRUPTED:
    case ER_NET_ERROR_ON_WRITE:
    case ER_NET_WRITE_INTERRUPTED:
    case ER_NET_PACKETS_OUT_OF_ORDER:
    case ER_CONNECTION_KILLED:
    case ER_CON_COUNT_ERROR:
    case ER_TOO_MANY_USER_CONNECTIONS:
    case MYSQL_ER_DISCONNECTED:
        return MARIADB_LOST;
    default:
        break;
    }
    /* Everything that the client library itself finds leaves a connection of which nobody knows
     * where its stream of packets stands. */
    bool clients = (error_number >= CR_MIN_ERROR && error_number <= CR_MAX_ERROR) ||
                   (error_number >= CER_MIN_ERROR && error_number <= CER_MAX_ERROR);
    return clients ? MARIADB_LOST : MARIADB_REFUSED;
}

const char *mariadb_status_name(enum mariadb_status status) {
    static const char *const names[] = {"ok",     "no answer", "deadlock",
                                        "locked", "duplicate", "refused"};
    return names[status];
}
