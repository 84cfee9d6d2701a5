// A pack without its Layer 2: what a spool gives up first when it runs out of room.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace argus::client::spool {

struct WithoutSamples {
  std::string body;
  std::uint32_t steps = 0;  ///< that had samples
};

/// The same steps, `seq` and all else of them kept, without sample ids and per-sample arrays. nullopt: the body is no
/// pack of the protocol, or none of its steps has any.
std::optional<WithoutSamples> without_samples(std::string_view body);

}  // namespace argus::client::spool
