// Brings what waits in the spool to whoever keeps the run: oldest first, one message at a time, until it is
// acknowledged.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "client/answer.h"
#include "client/counters.h"
#include "client/notices.h"
#include "client/spool.h"
#include "client/transport.h"
#include "wire/json_reader.h"

namespace argus::client {

struct CourierOptions {
  std::string run_id;
  std::string registration;       ///< sent again when a run turns out to be unknown over there
  std::string destination;        ///< for notices: the server's address, or the home
  std::string refuge;             ///< for notices: where steps wait meanwhile; empty: in memory only
  std::uint64_t jitter_seed = 1;  ///< of the scatter of retries
  bool is_known = false;          ///< the destination accepted something of this run before
};

/// Rules:
///  - An answer counts only if it parses and is of this run. Everything else is no answer: the message is sent again
///    (kRetry after 0.25 s doubling to 30 s, scattered over [half, whole] of that, never before the server's
///    Retry-After up to 10 minutes; kDenied after a minute).
///  - A pack that is refused is cut in halves until the steps that are to blame stand alone: those are rejected, the
///    others delivered. Until something was accepted in this process, a refusal says more about the address than about
///    the message: the message is kept and tried like a denied one.
///  - A heartbeat goes out when nothing has for 30 s. It is not repeated.
///  - Trouble is said once an outage, and at most once a minute; its end, with what was lost, if its beginning was
///  said.
/// Not thread-safe: all calls on the worker, reports come from within Transport::poll() there.
class Courier {
 public:
  Courier(Spool& spool, Transport& transport, const Clock& clock, WorkerCounters& counters, Notices& notices,
          CourierOptions options);

  /// Begins the next delivery, if there is one and its time has come.
  void advance();
  bool is_under_way() const { return under_way_.has_value(); }
  /// Delivery does not work at present.
  bool is_in_trouble() const { return failures_ > 0; }
  /// Records popped or rejected so far.
  std::uint64_t settled() const { return settled_; }
  /// Records added so far behind the others, each a step of a refused pack.
  std::uint64_t moved() const { return moved_; }

  Command take_command() { return std::exchange(command_, Command::kNone); }
  /// The certificate of the newest completion that was acknowledged; empty: none.
  const std::string& certificate() const { return certificate_; }

 private:
  struct UnderWay {
    MessageKind kind = MessageKind::kPack;
    std::string body;
    std::uint32_t steps = 0;
    bool has_samples = false;
    bool is_spooled = false;                          // the front of the spool, whole
    bool is_registration = false;                     // ours, in between
    std::pair<std::size_t, std::size_t> range{0, 0};  // of the pack under dissection
  };
  /// A refused pack while the step to blame is looked for.
  struct Dissection {
    std::string body;  // of the whole pack, as it lies in the spool
    std::vector<std::string_view> steps;
    std::deque<std::pair<std::size_t, std::size_t>> waiting;  // [first, end)
    std::vector<std::size_t> bad;
    std::string cause;
    std::uint32_t refusals = 0;
    bool has_samples = false;
  };

  void begin(UnderWay message);
  void send_part();
  void send_heartbeat();
  void report(Delivery delivery);
  void delivered(const UnderWay& sent, const KeeperAnswer& answer);
  void failed(const UnderWay& sent, Delivery& delivery);
  void refused(const UnderWay& sent, const Delivery& delivery);
  void dissect(const UnderWay& sent, const std::string& cause);
  void part_refused(const UnderWay& sent, const std::string& cause);
  void finish_dissection();
  void settle_front();
  void reject_front(std::uint32_t steps, std::string_view cause);
  void count_settled();
  void wait_after(const Delivery& delivery);
  void say_trouble(const std::string& cause, bool is_denied);
  void say_recovered();
  double scatter();

  Spool& spool_;
  Transport& transport_;
  const Clock& clock_;
  WorkerCounters& counters_;
  Notices& notices_;
  const CourierOptions options_;
  wire::JsonReader json_;

  std::optional<UnderWay> under_way_;
  std::unique_ptr<Dissection> dissection_;  // its views point into itself: never moved
  bool register_first_ = false;
  bool registered_again_ = false;  // for the front, since it was last denied
  std::uint64_t settled_ = 0, moved_ = 0;
  std::uint64_t scatter_state_;

  bool has_accepted_ = false;  // something, in this process
  bool is_completed_ = false;  // and nothing went out since
  std::int64_t next_try_ms_ = 0;
  std::int64_t last_contact_ms_;
  std::uint32_t failures_ = 0;  // in a row
  std::int64_t trouble_since_ms_ = 0;
  std::optional<std::int64_t> trouble_said_ms_;
  bool trouble_is_said_ = false;
  std::uint64_t lost_when_said_ = 0;
  std::string version_said_;
  Command command_ = Command::kNone;
  std::string certificate_;
};

}  // namespace argus::client
