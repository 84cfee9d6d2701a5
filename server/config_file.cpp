// The only file that sees the TOML library.
#include <fmt/format.h>

// The packaged library is compiled with exceptions.
#define TOML_HEADER_ONLY 0
#include <toml++/toml.h>

#include "server/config.h"

namespace argus::server {
namespace {

int line_of(const toml::node& node) { return static_cast<int>(node.source().begin.line); }

std::optional<std::string> text_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* integer = node.as_integer()) return fmt::to_string(integer->get());
  if (const auto* real = node.as_floating_point()) return fmt::to_string(real->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* list = node.as_array()) {
    std::string joined;
    for (const toml::node& entry : *list) {
      const auto one = entry.is_array() ? std::nullopt : text_of(entry);
      if (!one) return std::nullopt;
      joined.append(joined.empty() ? "" : ",").append(*one);
    }
    return joined;
  }
  return std::nullopt;
}

class FileReader {
 public:
  FileReader(ServerConfig& config, std::string_view name) : config_(config), name_(name) {}

  Status read(const toml::table& table, const std::string& path) {
    for (const auto& [key, node] : table) {
      const std::string full = fmt::format("{}{}", path, key.str());
      if (full == "webhooks") {
        if (Status s = read_webhooks(node); !s) return s;
      } else if (const auto* inner = node.as_table()) {
        if (Status s = read(*inner, full + "."); !s) return s;
      } else if (Status s = set(full, node); !s) {
        return s;
      }
    }
    return {};
  }

 private:
  Status set(const std::string& key, const toml::node& node) {
    const auto text = text_of(node);
    if (!text) return at(node, {ErrorCode::kInvalid, key + " is no text, number or flag", key, {}});
    Status applied = apply_setting(config_, key, *text);
    return applied ? Status() : at(node, applied.error());
  }

  Status read_webhooks(const toml::node& node) {
    const auto* list = node.as_array();
    if (list == nullptr)
      return at(node, {ErrorCode::kInvalid, "webhooks is no list of tables; write [[webhooks]]", "webhooks", {}});
    for (const toml::node& entry : *list) {
      const auto* table = entry.as_table();
      if (table == nullptr)
        return at(entry, {ErrorCode::kInvalid, "webhooks is no list of tables; write [[webhooks]]", "webhooks", {}});
      ConfigTable& kept = config_.webhooks.emplace_back();
      kept.line = line_of(entry);
      for (const auto& [key, value] : *table) {
        auto text = text_of(value);
        if (!text)
          return at(value, {ErrorCode::kInvalid,
                            fmt::format("webhooks.{} is no text, number, flag or list", key.str()),
                            std::string(key.str()),
                            {}});
        kept.values.emplace_back(std::string(key.str()), std::move(*text));
      }
    }
    return {};
  }

  Error at(const toml::node& node, Error error) const {
    error.message = fmt::format("{}:{}: {}", name_, line_of(node), error.message);
    return error;
  }

  ServerConfig& config_;
  std::string_view name_;
};

}  // namespace

Status apply_toml(ServerConfig& config, std::string_view text, std::string_view name) {
  try {
    const toml::table table = toml::parse(text);
    return FileReader(config, name).read(table, "");
  } catch (const toml::parse_error& e) {
    return Error{ErrorCode::kMalformed,
                 fmt::format("{}:{}: {}", name, static_cast<int>(e.source().begin.line), e.description()),
                 {},
                 {}};
  }
}

}  // namespace argus::server
