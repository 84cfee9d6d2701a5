// How a message of a run reaches whoever keeps it: a server over HTTP, or runs/ in this process. The seam.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace argus::client {

/// What a message is; its body is the JSON that wire.md describes for that call. Values are on disk: never renumber.
enum class MessageKind : std::uint8_t {
  kRegister = 1,   ///< POST /v2/runs
  kPack = 2,       ///< POST /v2/detect: an array of steps
  kReset = 3,      ///< POST /v2/reset
  kComplete = 4,   ///< POST /v2/complete
  kHeartbeat = 5,  ///< POST /v2/heartbeat; never spooled
  kAnalytics = 6,  ///< POST /v2/telemetry, the second stream
};

/// Behind the server's prefix.
constexpr std::string_view path_of(MessageKind kind) {
  switch (kind) {
    case MessageKind::kRegister:
      return "/runs";
    case MessageKind::kPack:
      return "/detect";
    case MessageKind::kReset:
      return "/reset";
    case MessageKind::kComplete:
      return "/complete";
    case MessageKind::kHeartbeat:
      return "/heartbeat";
    case MessageKind::kAnalytics:
      return "/telemetry";
  }
  return "";
}

struct Message {
  MessageKind kind = MessageKind::kPack;
  std::string_view body;
};

enum class DeliveryOutcome : std::uint8_t {
  kDelivered,  ///< acknowledged: it is durable over there, and `answer` is that of this message
  kRetry,      ///< nobody knows, or not now (no connection, cut answer, 408, 425, 429, 5xx): send it again
  kRefused,  ///< never accepted as it is (400, 409, 413, 422, answer of another protocol): sending it again is useless
  kDenied,   ///< wrong or missing key, or another owner's run (401, 403, 404): kept, tried rarely
};

struct Delivery {
  DeliveryOutcome outcome = DeliveryOutcome::kRetry;
  std::string answer;                        ///< JSON, when delivered
  std::string cause;                         ///< one line for a person, when not; never holds the key
  std::chrono::milliseconds retry_after{0};  ///< as the server asked; 0: it did not
  std::chrono::microseconds round_trip{0};   ///< of this attempt
};

/// Not thread-safe: all calls come from one thread (the run's worker), and `done` is called on it, inside poll(). One
/// message is under way at a time.
class Transport {
 public:
  virtual ~Transport() = default;  ///< abandons what is under way without a report

  using Done = std::function<void(Delivery)>;
  /// Begins to send; returns at once. The body is copied. `done` is called exactly once, by a later poll().
  virtual void send(const Message& message, Done done) = 0;
  /// Moves the transfer along and reports; waits at most `wait` for something to report. Without a transfer under way
  /// it only waits.
  virtual void poll(std::chrono::milliseconds wait) = 0;
  /// Ends a transfer under way as kRetry: for a shutdown that will not wait longer.
  virtual void abandon() = 0;
};

}  // namespace argus::client
