#include <fmt/format.h>

#include <optional>

#include "client/spool_files.h"
#include "wire/json_writer.h"
#include "wire/object_reader.h"

namespace argus::client::spool {
namespace {

constexpr std::int64_t kVersion = 1;
constexpr std::size_t kManifestBytesMax = std::size_t{16} << 10;
constexpr std::size_t kUrlBytesMax = 2048;

}  // namespace

Status write_manifest(const std::string& folder, const Manifest& manifest, bool durable) {
  std::string out;
  wire::JsonWriter w(out);
  w.begin_object();
  w.key("version");
  w.number(kVersion);
  w.key("run_id");
  w.string(manifest.run_id);
  w.key("url");
  w.string(manifest.url);
  w.key("created_ms");
  w.number(manifest.created_ms);
  w.key("argus_version");
  w.string(manifest.argus_version);
  w.end_object();
  out += '\n';
  return write_whole_file(folder, kManifestName, out, durable);
}

Result<Manifest> read_manifest(const std::string& folder) {
  const auto bytes = read_whole_file(fmt::format("{}/{}", folder, kManifestName), kManifestBytesMax);
  if (!bytes) return bytes.error();
  Manifest manifest;
  std::optional<std::int64_t> version;
  std::optional<std::int64_t> created_ms;
  const wire::ObjectField fields[] = {
      wire::required(wire::integer_field("version", version)), wire::run_id_field(manifest.run_id),
      wire::required(wire::text_field("url", manifest.url, kUrlBytesMax)),
      wire::integer_field("created_ms", created_ms), wire::text_field("argus_version", manifest.argus_version)};
  wire::JsonReader json;
  const Status read = wire::read_object(json, *bytes, fields);
  if (version.value_or(kVersion) > kVersion)
    return Error{ErrorCode::kUnsupported, "the spool's manifest was written by a later version of Argus", "",
                 "use that version"};
  if (!read) return Error{read.error().code, "the spool's manifest.json: " + read.error().message, "", ""};
  manifest.created_ms = created_ms.value_or(0);
  return manifest;
}

}  // namespace argus::client::spool
