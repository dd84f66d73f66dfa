/** deploy/schema/mysql, as tools/embed puts it into the program. Read-only. */
#ifndef ORDERD_ADAPTER_MARIADB_SCHEMA_FILES_H
#define ORDERD_ADAPTER_MARIADB_SCHEMA_FILES_H

#include <stddef.h>

extern const unsigned char mysql_schema_001[];
extern const size_t mysql_schema_001_size;

#endif
