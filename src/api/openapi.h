/** The OpenAPI 3.1 document of the HTTP API, docs/openapi.json, as it was when this was built. */
#ifndef ORDERD_API_OPENAPI_H
#define ORDERD_API_OPENAPI_H

#include <stddef.h>

extern const unsigned char openapi_document[];
extern const size_t openapi_document_size;

#endif
