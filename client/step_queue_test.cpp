#include "client/step_queue.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace argus::client {
namespace {

// Step n carries n % 9 losses, all n, and a text id of that many characters where n is odd.
struct Numbered {
  std::vector<double> losses;
  std::vector<std::string> texts;
  std::vector<SampleId> ids;

  StepPayload make(std::int64_t n) {
    const auto samples = static_cast<std::size_t>(n % 9);
    losses.assign(samples, static_cast<double>(n));
    texts.assign(samples, std::string(samples, static_cast<char>('a' + n % 26)));
    ids.clear();
    for (const std::string& text : texts) ids.push_back(n % 2 != 0 ? SampleId::of(text) : SampleId::of(-n));
    StepPayload payload;
    payload.samples.losses = losses;
    payload.ids = ids;
    return payload;
  }
};

bool push(StepQueue& queue, Numbered& numbered, std::int64_t n) {
  const StepPayload payload = numbered.make(n);
  StepSlot* slot = queue.reserve(payload.bytes());
  if (slot == nullptr) return false;
  slot->head.step = n;
  payload.write(*slot);
  queue.commit();
  return true;
}

std::string fault_of(const StepSlot& slot, std::int64_t n) {
  wire::StepMessage m;
  read_slot(slot, m);
  Numbered numbered;
  const StepPayload expected = numbered.make(n);
  if (m.head.step != n) return "step " + std::to_string(m.head.step) + " where " + std::to_string(n) + " should be";
  if (m.array(wire::SampleArray::kLosses) != numbered.losses) return "other losses at " + std::to_string(n);
  if (m.sample_ids.size() != expected.ids.size()) return "other ids at " + std::to_string(n);
  for (std::size_t i = 0; i < expected.ids.size(); ++i) {
    const auto& id = m.sample_ids[i];
    if (id.kind != expected.ids[i].kind) return "an id of another kind at " + std::to_string(n);
    if (n % 2 != 0 && m.sample_ids.text(id) != numbered.texts[i]) return "another text at " + std::to_string(n);
    if (n % 2 == 0 && id.magnitude != static_cast<std::uint64_t>(n)) return "another id at " + std::to_string(n);
  }
  return {};
}

TEST(StepQueue, GivesWhatWasPutInOrderToARacingReader) {
  constexpr std::int64_t kSteps = 200'000;
  StepQueue queue(64, 4096);
  std::string fault;
  std::thread reader([&] {
    for (std::int64_t n = 0; n < kSteps;) {
      const StepSlot* slot = queue.front();
      if (slot == nullptr) {
        std::this_thread::yield();
        continue;
      }
      if (fault.empty()) fault = fault_of(*slot, n);
      queue.pop();
      ++n;
    }
  });
  Numbered numbered;
  for (std::int64_t n = 0; n < kSteps;) {
    if (push(queue, numbered, n)) {
      ++n;
    } else {
      std::this_thread::yield();
    }
  }
  reader.join();
  EXPECT_EQ(fault, "");
  EXPECT_EQ(queue.size(), 0u);
}

TEST(StepQueue, RefusesWhatDoesNotFitAndTakesItWhenThereIsRoom) {
  StepQueue queue(4, 512);
  Numbered numbered;
  for (std::int64_t n = 0; n < 4; ++n) ASSERT_TRUE(push(queue, numbered, n));
  EXPECT_FALSE(push(queue, numbered, 4));  // no slot
  queue.pop();
  EXPECT_TRUE(push(queue, numbered, 4));
  while (queue.front() != nullptr) queue.pop();
  std::vector<double> many(40);
  StepPayload payload;
  payload.samples.losses = many;  // 320 bytes: one fits into 512, two do not
  ASSERT_NE(queue.reserve(payload.bytes()), nullptr);
  queue.commit();
  EXPECT_EQ(queue.reserve(payload.bytes()), nullptr);
  queue.pop();
  EXPECT_NE(queue.reserve(payload.bytes()), nullptr);
}

TEST(StepQueue, NeverTakesWhatItCouldNotHold) {
  StepQueue queue(4, 64);
  EXPECT_EQ(queue.reserve(65 + 8), nullptr);
  EXPECT_NE(queue.reserve(64), nullptr);
}

TEST(StepQueue, AReservationThatIsGivenUpLeavesNoTrace) {
  StepQueue queue(8, 512);
  Numbered numbered;
  ASSERT_NE(queue.reserve(400), nullptr);
  EXPECT_EQ(queue.front(), nullptr);
  for (std::int64_t n = 0; n < 5; ++n) ASSERT_TRUE(push(queue, numbered, n));
  for (std::int64_t n = 0; n < 5; ++n) {
    ASSERT_NE(queue.front(), nullptr);
    EXPECT_EQ(fault_of(*queue.front(), n), "");
    queue.pop();
  }
}

TEST(StepQueue, CarriesReportsWithTheirWords) {
  StepQueue queue(2, 4096);
  std::array<AppliedReport, 2> reports;
  reports[0].applied = {3, engine::InterventionKind::kReduceLr, 12, true};
  reports[1].applied = {4, engine::InterventionKind::kRollback, 13, false};
  std::memcpy(reports[1].detail.data(), "no room", 7);
  reports[1].detail_size = 7;
  StepPayload payload;
  payload.applied = reports;
  StepSlot* slot = queue.reserve(payload.bytes());
  payload.write(*slot);
  queue.commit();
  wire::StepMessage m;
  read_slot(*queue.front(), m);
  ASSERT_EQ(m.applied.size(), 2u);
  EXPECT_EQ(m.applied[0].id, 3u);
  EXPECT_EQ(m.applied[1].kind, engine::InterventionKind::kRollback);
  EXPECT_FALSE(m.applied[1].ok);
  EXPECT_EQ(m.applied_details[0], "");
  EXPECT_EQ(m.applied_details[1], "no room");
}

}  // namespace
}  // namespace argus::client
