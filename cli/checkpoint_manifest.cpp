#include "cli/checkpoint_manifest.h"

#include <fmt/format.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "wire/json_values.h"
#include "wire/json_writer.h"
#include "wire/object_reader.h"

namespace argus::cli {
namespace {

constexpr std::string_view kFormat = "argus-checkpoint";
constexpr std::int64_t kVersion = 1;
constexpr std::string_view kCheck = ",\n\"check\":\"";
constexpr std::string_view kCheckEnd = "\"}\n";
constexpr std::size_t kHexDigits = 2 * crypto_hash_sha256_BYTES;
constexpr std::size_t kFilesMax = 1 << 20;
constexpr std::size_t kNameBytesMax = 4096;

std::string hex(const std::array<unsigned char, crypto_hash_sha256_BYTES>& hash) {
  std::string text(kHexDigits + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), hash.data(), hash.size());
  text.pop_back();
  return text;
}

// Whether the text ends in the hash of what stands before it.
bool is_as_written(std::string_view text) {
  const std::size_t tail = kCheck.size() + kHexDigits + kCheckEnd.size();
  if (text.size() < tail) return false;
  const std::string_view body = text.substr(0, text.size() - tail);
  std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
  crypto_hash_sha256(hash.data(), reinterpret_cast<const unsigned char*>(body.data()), body.size());
  return text.substr(body.size()) == fmt::format("{}{}{}", kCheck, hex(hash), kCheckEnd);
}

bool lies_within(const std::string& name) {
  const std::filesystem::path path(name);
  return !name.empty() && !path.is_absolute() && std::find(path.begin(), path.end(), "..") == path.end();
}

wire::ObjectField flag_field(std::string_view name, bool& into) {
  wire::ObjectField field;
  field.name = name;
  field.accepted = "true or false";
  field.take = [&into](wire::JsonReader& json, wire::JsonEvent first) {
    if (first != wire::JsonEvent::kBool) return false;
    into = json.boolean();
    return true;
  };
  return field;
}

Status read_file_entry(wire::JsonReader& json, const std::string& path, CheckpointFile& file) {
  std::optional<std::int64_t> bytes;
  const wire::ObjectField fields[] = {wire::required(wire::text_field("name", file.name, kNameBytesMax)),
                                      wire::required(wire::integer_field("bytes", bytes)),
                                      wire::required(wire::hex_field("sha256", file.sha256, kHexDigits))};
  if (Status s = wire::read_members(json, path + ".", fields); !s) return s;
  if (!lies_within(file.name)) return Error{ErrorCode::kMalformed, "it names a file outside its folder", path, {}};
  file.bytes = *bytes;
  return {};
}

wire::ObjectField files_field(std::vector<CheckpointFile>& into) {
  wire::ObjectField field;
  field.name = "files";
  field.accepted = "an array of {name, bytes, sha256}";
  field.take_nested = [&into](wire::JsonReader& json, wire::JsonEvent first, const std::string& path) -> Status {
    const Error wrong{ErrorCode::kMalformed, "accepted: an array of {name, bytes, sha256}", path, {}};
    if (first != wire::JsonEvent::kBeginArray) return wrong;
    for (wire::JsonEvent e = json.next(); e != wire::JsonEvent::kEndArray; e = json.next()) {
      if (e != wire::JsonEvent::kBeginObject || into.size() == kFilesMax) return wrong;
      CheckpointFile file;
      if (Status s = read_file_entry(json, path, file); !s) return s;
      into.push_back(std::move(file));
    }
    return {};
  };
  return field;
}

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

Result<CheckpointManifest> read_checkpoint_manifest(std::string_view text) {
  if (!is_as_written(text))
    return Error{ErrorCode::kMalformed, "manifest.json is not what was written: its check differs", {}, {}};
  CheckpointManifest m;
  std::string format;
  std::optional<std::int64_t> version, step, segment, slot, serial, created_ms, world_size;
  std::optional<double> loss;
  const wire::ObjectField fields[] = {wire::required(wire::text_field("format", format)),
                                      wire::required(wire::integer_field("version", version)),
                                      wire::required(wire::integer_field("step", step)),
                                      wire::integer_field("segment", segment),
                                      wire::integer_field("slot", slot),
                                      wire::required(wire::integer_field("serial", serial)),
                                      wire::integer_field("created_ms", created_ms),
                                      wire::integer_field("world_size", world_size),
                                      wire::required(wire::text_field("signal", m.signal)),
                                      wire::cut_text_field("reason", m.reason, limits::kTextBytesMax),
                                      wire::cut_text_field("run_id", m.run_id, limits::kTextBytesMax),
                                      wire::number_field("loss", loss),
                                      flag_field("promoted", m.promoted),
                                      wire::required(files_field(m.files))};
  wire::JsonReader json;
  if (Status s = wire::read_object(json, text, fields); !s) {
    return Error{ErrorCode::kMalformed,
                 fmt::format("manifest.json is no manifest: {} {}", s.error().field, s.error().message),
                 {},
                 {}};
  }
  if (format != kFormat) return Error{ErrorCode::kMalformed, "manifest.json is of another format", {}, {}};
  if (*version != kVersion) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("manifest.json has version {}; this program reads {}", *version, kVersion),
                 {},
                 {}};
  }
  m.step = *step;
  m.segment = segment.value_or(0);
  m.slot = slot.value_or(0);
  m.serial = *serial;
  m.created_ms = created_ms.value_or(0);
  m.world_size = world_size.value_or(1);
  wire::JsonWriter writer(m.loss);
  loss ? writer.number(*loss) : writer.null();
  return m;
}

std::string check_checkpoint_file(const std::string& folder, const CheckpointFile& file) {
  const std::unique_ptr<std::FILE, FileCloser> opened(std::fopen((folder + "/" + file.name).c_str(), "rb"));
  if (opened == nullptr) return fmt::format("{} cannot be read ({})", file.name, std::strerror(errno));
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  std::vector<unsigned char> buffer(std::size_t{1} << 20);
  std::int64_t bytes = 0;
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), opened.get())) {
    crypto_hash_sha256_update(&state, buffer.data(), count);
    bytes += static_cast<std::int64_t>(count);
  }
  if (std::ferror(opened.get()) != 0) return fmt::format("{} cannot be read ({})", file.name, std::strerror(errno));
  if (bytes != file.bytes) return fmt::format("{} has {} bytes, was written with {}", file.name, bytes, file.bytes);
  std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
  crypto_hash_sha256_final(&state, hash.data());
  if (hex(hash) != file.sha256) return fmt::format("{} is not what was written: its SHA-256 differs", file.name);
  return {};
}

}  // namespace argus::cli
