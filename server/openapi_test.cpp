#include "server/openapi.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/clock.h"
#include "record/chunk.h"
#include "server/server.h"

namespace argus::server {
namespace {

using nlohmann::json;
using Calls = std::set<std::string>;

json document() { return json::parse(openapi_document()); }

class ServerOfItsOwn {
 public:
  ServerOfItsOwn() {
    std::string name = (std::filesystem::temp_directory_path() / "argus-openapi-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    ServerConfig config;
    config.home = folder_;
    config.http.port = 0;
    Result<std::unique_ptr<Server>> opened = Server::open(config, clock_);
    EXPECT_TRUE(opened) << opened.error().message;
    if (opened) server_ = std::move(*opened);
  }
  ~ServerOfItsOwn() {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }
  Server& operator*() { return *server_; }

 private:
  SystemClock clock_;
  std::filesystem::path folder_;
  std::unique_ptr<Server> server_;
};

std::string word_of(HttpMethod method) {
  switch (method) {
    case HttpMethod::kGet:
      return "get";
    case HttpMethod::kPost:
      return "post";
    case HttpMethod::kPut:
      return "put";
    case HttpMethod::kDelete:
      return "delete";
    default:
      return "other";
  }
}

TEST(OpenApi, DescribesExactlyTheRoutesThereAre) {
  ServerOfItsOwn server;
  Calls routed, described;
  for (const Route* route : (*server).routes_for_test()) routed.insert(word_of(route->method) + " " + route->path);
  const json paths = document()["paths"];
  for (const auto& [path, methods] : paths.items()) {
    for (const auto& [method, operation] : methods.items()) {
      if (method != "servers") described.insert(method + " " + path);
    }
  }
  EXPECT_EQ(routed, described);
}

TEST(OpenApi, NamesScopesAndParametersOfEachRoute) {
  ServerOfItsOwn server;
  const json paths = document()["paths"];
  for (const Route* route : (*server).routes_for_test()) {
    const json& operation = paths[route->path][word_of(route->method)];
    const std::string text = operation["description"];
    const char* const scope = route->scope == Scope::kNone     ? "Open to all."
                              : route->scope == Scope::kIngest ? "Scope: ingest."
                              : route->scope == Scope::kRead   ? "Scope: read."
                                                               : "Scope: admin.";
    EXPECT_NE(text.find(scope), std::string::npos) << route->path;
    Calls known(route->query.begin(), route->query.end()), described;
    for (const json& parameter : operation.value("parameters", json::array())) {
      if (parameter["in"] == "query") described.insert(parameter["name"]);
    }
    EXPECT_EQ(known, described) << route->path;
  }
}

TEST(OpenApi, NamesEverySeries) {
  const std::string text = document()["paths"]["/runs/{run_id}/series"]["get"]["parameters"][1]["description"];
  for (const record::SeriesId id : record::all_series()) {
    EXPECT_NE(text.find(std::string(record::series_name(id))), std::string::npos) << record::series_name(id);
  }
}

}  // namespace
}  // namespace argus::server
