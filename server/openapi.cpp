#include "server/openapi.h"

#include <string>

#include "server/openapi_document.h"
#include "server/reply.h"

namespace argus::server {

std::string_view openapi_document() {
  static const std::string document = [] {
    std::string joined;
    for (const std::string_view part : kOpenApiParts) joined += part;
    return joined;
  }();
  return document;
}

void add_openapi_route(Router& router) {
  Route route;
  route.path = "/openapi.json";
  route.is_bare = true;
  route.scope = Scope::kNone;
  route.thread = Thread::kIo;
  route.handler = [](const Call&, const Respond& respond) { respond(json_response(std::string(openapi_document()))); };
  router.add(std::move(route));
}

}  // namespace argus::server
