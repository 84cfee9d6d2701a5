#include "cli/verify.h"

#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "base/limits.h"
#include "base/result.h"
#include "cli/input/byte_source.h"
#include "cli/input/line_reader.h"
#include "runs/certificate.h"
#include "runs/export.h"
#include "runs/signing_key.h"
#include "server/server.h"

namespace argus::cli {
namespace {

constexpr std::size_t kExportLineBytesMax = 4 * limits::kBodyBytesMax;  // a row in base64 beside what it says

int say(int status, std::string_view verdict, std::string_view why) {
  fmt::print("{}: {}\n", verdict, why);
  return status;
}

int cannot(const Error& error) {
  fmt::print(stderr, "argus verify: {}{}{}\n", error.message, error.hint.empty() ? "" : "; ", error.hint);
  return kExitUnknownKey;
}

Result<std::string> read_whole(const std::string& path) {
  Result<std::unique_ptr<ByteSource>> source = open_bytes(path);
  if (!source) return source.error();
  std::string text;
  std::array<char, 65536> buffer{};
  while (true) {
    const Result<std::size_t> size = (**source).read(buffer);
    if (!size) return size.error();
    if (*size == 0) return text;
    text.append(buffer.data(), *size);
    if (text.size() > limits::kBodyBytesMax)
      return Error{ErrorCode::kTooLarge, "the file is too large for a certificate", {}, {}};
  }
}

Result<std::vector<runs::PublicKey>> keys_given(const std::vector<std::string>& texts) {
  std::vector<runs::PublicKey> keys;
  for (const std::string& text : texts) {
    const std::optional<runs::PublicKey> key = runs::public_key_from_text(text);
    if (!key) {
      return Error{ErrorCode::kInvalid,
                   fmt::format("--pubkey {} is no key", text),
                   {},
                   "accepted: 43 characters of base64url, as `argus keys server` prints them"};
    }
    keys.push_back(*key);
  }
  return keys;
}

// Keys that sign, or once signed, in the home or the database. A home that is not there has none, and is not made.
Result<std::vector<runs::PublicKey>> keys_kept(const ServeOptions& where) {
  Result<server::ServerConfig> config = load_config(where);
  if (!config) return config.error();
  std::vector<runs::PublicKey> keys;
  std::error_code error;
  if (config->database.empty() && !std::filesystem::exists(config->home + "/argus.db", error)) return keys;
  config->allows_network_home = true;
  Result<std::unique_ptr<store::Store>> store = server::open_store(*config);
  if (!store) return store.error();
  const Result<std::vector<runs::SigningKeyInfo>> found = runs::SigningKeys::list(**store);
  if (!found) return found.error();
  for (const runs::SigningKeyInfo& info : *found) keys.push_back(info.public_key);
  return keys;
}

// Empty: the export holds the observations that the certificate rests on. Otherwise what is wrong. Errors: the file
// cannot be read.
Result<std::string> compare_with_export(const std::string& path, const runs::CertificateChain& stated) {
  Result<std::unique_ptr<ByteSource>> source = open_bytes(path);
  if (!source) return source.error();
  LineReader lines(std::move(*source), kExportLineBytesMax);
  runs::ExportReader reader(false);
  std::string end_hex;  // where the chain stood after as many observations as were certified
  while (true) {
    if (end_hex.empty() && reader.observations() == stated.observations) end_hex = reader.chain().hex();
    const LineReader::Next next = lines.next();
    if (next == LineReader::Next::kBroken) return lines.error();
    if (next == LineReader::Next::kEnd) break;
    if (next == LineReader::Next::kTooLong) return fmt::format("line {} of the export is too long", lines.number());
    if (Status added = reader.add(lines.line()); !added) return added.error().message;
  }
  if (Status whole = reader.finish(); !whole) return whole.error().message;
  if (reader.run().run_id != stated.run_id)
    return fmt::format("it is of run {}, the export of run {}", stated.run_id, reader.run().run_id);
  if (end_hex.empty()) {
    return fmt::format("it states {} observations, the export holds {}", stated.observations, reader.observations());
  }
  if (end_hex != stated.end_hex) return std::string("the export's observations are not those it was made for");
  return std::string();
}

}  // namespace

int verify(const VerifyOptions& options) {
  const Result<std::string> text = read_whole(options.file);
  if (!text) return cannot(text.error());
  const Result<std::vector<runs::PublicKey>> trusted =
      options.public_keys.empty() ? keys_kept(options.where) : keys_given(options.public_keys);
  if (!trusted) return cannot(trusted.error());

  const Result<std::string> certificate = runs::certificate_in(*text);
  if (!certificate) return say(kExitTampered, "TAMPERED", certificate.error().message);
  const runs::CertificateCheck check = runs::check_certificate(*certificate, *trusted);
  if (check.verdict == runs::CertificateVerdict::kTampered) return say(kExitTampered, "TAMPERED", check.reason);
  if (check.verdict == runs::CertificateVerdict::kUnknownKey) return say(kExitUnknownKey, "UNKNOWN KEY", check.reason);
  const Result<runs::CertificateChain> chain = runs::certificate_chain(*certificate);
  if (!chain) return say(kExitTampered, "TAMPERED", chain.error().field + ": " + chain.error().message);

  std::string found = fmt::format("run {} of {}, {} observations, signed by key {}", chain->run_id, chain->owner,
                                  chain->observations, check.key_id);
  if (options.export_file.empty()) return say(kExitValid, "VALID", found);
  const Result<std::string> wrong = compare_with_export(options.export_file, *chain);
  if (!wrong) return cannot(wrong.error());
  if (!wrong->empty()) return say(kExitTampered, "TAMPERED", *wrong);
  return say(kExitValid, "VALID", found + "; the export's hash chain is the one it states");
}

}  // namespace argus::cli
