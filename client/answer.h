// What is read of the keeper's answers: that they are ours, and what a person commands.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "client/transport.h"
#include "wire/json_reader.h"

namespace argus::client {

enum class Command : std::uint8_t { kNone, kPause, kStop };

struct KeeperAnswer {
  std::string run_id;                ///< empty: the answer names none
  std::string engine_version;        ///< empty: the answer names none
  Command command = Command::kNone;  ///< a person's: an action of the engine stands beside its recommendation
  bool completed = false;
  std::string certificate;  ///< of a completion: the object as it was sent, JSON
};

/// kMalformed: no whole JSON object.
Result<KeeperAnswer> read_answer(wire::JsonReader& json, std::string_view answer);

/// Whether the answer is one to this message of this run; empty, or what is wrong with it.
std::string fault_of(const KeeperAnswer& answer, MessageKind kind, std::string_view run_id);

}  // namespace argus::client
