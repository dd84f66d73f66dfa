/** The files of deploy/schema/cassandra/, as they were when this was built. */
#ifndef ORDERD_ADAPTER_CASSANDRA_SCHEMA_TEXT_H
#define ORDERD_ADAPTER_CASSANDRA_SCHEMA_TEXT_H

#include <stddef.h>

extern const unsigned char cassandra_schema_001[];
extern const size_t cassandra_schema_001_size;

#endif
