#include "engine/life/state_codec.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/engine.h"

namespace argus::engine {
namespace {

std::vector<std::byte> bytes_of(const char* text) {
  std::vector<std::byte> out;
  for (const char* p = text; *p != 0; ++p) out.push_back(static_cast<std::byte>(*p));
  return out;
}

TEST(StateCodec, GivesBackWhatItSealed) {
  const auto payload = bytes_of("the run so far");
  const auto sealed = seal_state(payload, "1.2.3");
  const auto opened = open_state(sealed);
  ASSERT_TRUE(opened.has_value());
  EXPECT_TRUE(std::equal(payload.begin(), payload.end(), opened->payload.begin(), opened->payload.end()));
  EXPECT_EQ(opened->version, "1.2.3");
}

TEST(StateCodec, RefusesEveryTruncation) {
  const auto sealed = seal_state(bytes_of("payload"), "1");
  for (std::size_t n = 0; n < sealed.size(); ++n) {
    EXPECT_FALSE(open_state(std::span(sealed).first(n)).has_value()) << n << " bytes";
  }
}

TEST(StateCodec, RefusesEveryFlippedByte) {
  const auto sealed = seal_state(bytes_of("payload"), "1");
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    auto torn = sealed;
    torn[i] ^= std::byte{0x10};
    EXPECT_FALSE(open_state(torn).has_value()) << "byte " << i;
  }
}

TEST(StateCodec, NamesAnotherLayout) {
  auto sealed = seal_state(bytes_of("payload"), "1");
  sealed[8] = std::byte{99};
  const auto body = std::span(sealed).first(sealed.size() - 8);
  const std::uint64_t sum = state_checksum(body);
  for (std::size_t i = 0; i < 8; ++i) sealed[body.size() + i] = static_cast<std::byte>(sum >> (8 * i));
  const auto opened = open_state(sealed);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported);
}

TEST(StateCodec, SizeDoesNotDependOnTheState) {
  Engine fresh, used;
  Step s;
  s.scalars.set(Field::kLoss, 1.0);
  for (int i = 0; i < 500; ++i) {
    s.step = i;
    s.scalars.set(Field::kLoss, 1.0 + 0.01 * (i % 7));
    used.observe(s);
  }
  EXPECT_EQ(fresh.save().size(), used.save().size());
}

}  // namespace
}  // namespace argus::engine
