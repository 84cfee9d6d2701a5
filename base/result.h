// Status and Result<T>: how every room reports expected failures (input, disk, network).
//
//   Result<Step> r = read_step(line);
//   if (!r.has_value()) return r.error();
//   use(*r);
//
// Method names are those of std::expected, so that a later switch is mechanical.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace argus {

/// A code exists only where some caller acts on it.
enum class ErrorCode : std::uint8_t {
  kMalformed = 1,     ///< not JSON / not the format at all (HTTP 400)
  kInvalid = 2,       ///< well-formed, but a field has a wrong type or an impossible value (HTTP 422)
  kTooLarge = 3,      ///< a size, depth or count limit was passed (HTTP 413)
  kUnavailable = 4,   ///< a file or service cannot be read now
  kUnsupported = 5,   ///< a version or format this build does not know
  kNotFound = 6,      ///< nothing of that name that the caller may see (HTTP 404)
  kConflict = 7,      ///< it exists already, or changed since it was read (HTTP 409)
  kUnauthorized = 8,  ///< no key, or one that is not known (HTTP 401)
  kForbidden = 9,     ///< known, but not allowed to (HTTP 403)
  kRateLimited = 10,  ///< too often; the hint says when again (HTTP 429)
};

/// What was wrong, where, and what would be accepted: the error body of the wire protocol.
struct Error {
  ErrorCode code = ErrorCode::kInvalid;
  std::string message;  ///< one sentence, names the value and what is accepted
  std::string field;    ///< dotted path of the field, empty when none is to blame
  std::string hint;     ///< optional advice
};

/// Success without a value, or an Error. Thread-compatible; owns its strings.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design, as std::unexpected

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

/// A T, or an Error. Move-only payloads are allowed.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

}  // namespace argus
