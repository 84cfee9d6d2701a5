#include "wire/answer_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "wire/json_reader.h"
#include "wire/step_reader.h"

namespace argus::wire {
namespace {

using engine::Decision;

class AnswerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto read = reader_.read(R"({"run_id":"r","step":42,"sample_ids":[7,"x",-9],"sample_losses":[1,2,3]})");
    ASSERT_TRUE(read.has_value());
    message_ = &read->steps.front();
    decision_.step = 42;
  }
  std::string answer() {
    std::string out;
    write_answer({message_, &decision_}, out);
    EXPECT_TRUE(JsonReader().start(out).has_value()) << out;
    EXPECT_EQ(out.find(":nan"), out.npos);
    return out;
  }
  void expect(std::string_view piece) {
    const std::string out = answer();
    EXPECT_NE(out.find(piece), out.npos) << piece << "\nin " << out;
  }

  StepReader reader_;
  const StepMessage* message_ = nullptr;
  Decision decision_;
};

TEST_F(AnswerTest, HasEveryFieldOfTheTableWhileCalm) {
  const std::string version(engine::kEngineVersion);
  EXPECT_EQ(
      answer(),
      R"({"run_id":"r","step":42,"engine_version":")" + version +
          R"(","harm_pressure":0,"signals":[],"episode":null,"notes":[],)"
          R"("breakdown":{"loss_divergence":0,"gradient_explosion":0,"vanishing_gradients":0,"oscillation":0,)"
          R"("training_stagnation":0,"distribution_shift":0,"confidence_collapse":0,"entropy_drift":0,"outlier_batch":0,)"
          R"("label_noise":0,"representational_collapse":0},"expected":{"loss":null,"grad_norm":null},"calibrating":true,)"
          R"("spike_samples":[],"action":"CONTINUE","intervention":"NONE","recommendation":null,"lr_factor":null,)"
          R"("reset_optimizer":null,"checkpoint_signal":"NONE","checkpoint_slot":0,"checkpoint_reason":"",)"
          R"("proactive_anchor":false,"anchor_point":null})");
}

TEST_F(AnswerTest, NamesActiveSignalsWithTheirEvidence) {
  auto& s = decision_.signals[static_cast<std::size_t>(engine::SignalKind::kOutlierBatch)];
  s.severity = 1.5;
  s.active = true;
  s.active_steps = 3;
  s.since_step = 40;
  s.value = std::nan("");
  s.center = 0.5;
  s.baseline = {0.25, 0.75};
  expect(R"("signals":[{"name":"outlier_batch","severity":1.5,"active_steps":3,"since_step":40,"value":"NaN",)"
         R"("baseline":{"center":0.5,"low":0.25,"high":0.75}}])");
  expect(R"("outlier_batch":1.5)");
}

TEST_F(AnswerTest, CarriesEpisodeNotesAndBands) {
  decision_.harm_pressure = 2;
  decision_.calibrating = false;
  decision_.episode = engine::Episode{3, 38, 2};
  decision_.notes[1] = {true, 30, 0.5};
  decision_.expected_loss = engine::Band{1, 2};
  expect(R"("harm_pressure":2)");
  expect(R"("episode":{"id":3,"opened_step":38,"peak_pressure":2})");
  expect(R"("notes":[{"kind":"no_progress","since_step":30,"value":0.5}])");
  expect(R"("expected":{"loss":[1,2],"grad_norm":null},"calibrating":false)");
}

TEST_F(AnswerTest, ReturnsSampleIdsAsSent) {
  decision_.spike_count = 3;
  decision_.spike_indices = {2, 1, 0};
  expect(R"("spike_samples":[-9,"x",7])");
  decision_.reception = engine::Reception::kLate;  // the decision speaks of another step's samples
  expect(R"("spike_samples":[])");
}

TEST_F(AnswerTest, WritesEachRecommendationWithItsParameters) {
  engine::Recommendation r;
  r.id = 9;
  r.signals = 0b11;
  r.evidence = 2.5;
  r.expires_step = 60;
  r.lr_factor = 0.5;
  r.anchor_step = 30;
  r.suggested_lr = 0.001;
  decision_.spike_count = 1;
  decision_.spike_indices = {1};
  const std::pair<engine::InterventionKind, const char*> kinds[] = {
      {engine::InterventionKind::kReduceLr, R"("kind":"REDUCE_LR","parameters":{"lr_factor":0.5})"},
      {engine::InterventionKind::kRestoreLr, R"("kind":"RESTORE_LR","parameters":{"lr_factor":0.5})"},
      {engine::InterventionKind::kResetOptimizer, R"("kind":"RESET_OPTIMIZER","parameters":{"suggested_lr":0.001})"},
      {engine::InterventionKind::kRollback,
       R"("kind":"ROLLBACK","parameters":{"anchor_step":30,"suggested_lr":0.001})"},
      {engine::InterventionKind::kFilterSamples, R"("kind":"FILTER_SAMPLES","parameters":{"sample_ids":["x"]})"},
      {engine::InterventionKind::kPause, R"("kind":"PAUSE","parameters":{})"}};
  for (const auto& [kind, text] : kinds) {
    r.kind = kind;
    decision_.recommendation = r;
    expect(text);
  }
  expect(R"("signals":["loss_divergence","gradient_explosion"],"evidence":2.5,"expires_step":60,"state":"proposed"})");
}

TEST_F(AnswerTest, CarriesCommandsAndCheckpointAdvice) {
  decision_.action = engine::Action::kSetLr;
  decision_.intervention = engine::InterventionKind::kReduceLr;
  decision_.lr_factor = 0.5;
  decision_.reset_optimizer = true;
  decision_.checkpoint_signal = engine::CheckpointSignal::kSaveNow;
  decision_.checkpoint_slot = 2;
  decision_.checkpoint_reason = engine::CheckpointReason::kDeveloping;
  decision_.proactive_anchor = true;
  decision_.anchor = engine::Anchor{30, 41, engine::AnchorMethod::kClientMarked, 0.75, std::nan("")};
  expect(R"("action":"SET_LR","intervention":"REDUCE_LR")");
  expect(R"("lr_factor":0.5,"reset_optimizer":{"suggested_lr":null})");
  expect(
      R"("checkpoint_signal":"SAVE_NOW","checkpoint_slot":2,"checkpoint_reason":"something is developing","proactive_anchor":true)");
  expect(
      R"("anchor_point":{"anchor_step":30,"collapse_step":41,"method":"client_marked","quality_score":0.75,"train_loss":"NaN"})");
  decision_.suggested_lr = 0.01;
  expect(R"("reset_optimizer":{"suggested_lr":0.01})");
}

TEST(PackAnswer, IsTheNewestObjectWithAllSteps) {
  const std::vector<std::string_view> answers = {R"({"step":1})", R"({"step":2})"};
  std::string out;
  write_pack_answer(answers, out);
  EXPECT_EQ(out, R"({"step":2,"steps":[{"step":1},{"step":2}]})");
}

TEST(ErrorBody, LeavesOutWhatIsEmpty) {
  std::string out;
  write_error({ErrorCode::kInvalid, "a \"b\"", "f", ""}, out);
  EXPECT_EQ(out, R"({"error":{"code":"invalid","message":"a \"b\"","field":"f"}})");
}

}  // namespace
}  // namespace argus::wire
