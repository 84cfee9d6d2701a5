// The description of every call: server/openapi.json, built into the program.
#pragma once

#include <string_view>

#include "server/router.h"

namespace argus::server {

/// An OpenAPI 3.1 document, JSON.
std::string_view openapi_document();

/// GET /openapi.json, open to all.
void add_openapi_route(Router& router);

}  // namespace argus::server
