#include "wire/step_reader.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "base/limits.h"
#include "wire/step_writer.h"

namespace argus::wire {
namespace {

using engine::Field;

class StepReaderTest : public ::testing::Test {
 protected:
  // A step with `fields` beside run_id and step.
  static std::string step(std::string_view fields) {
    return "{\"run_id\":\"r\",\"step\":7" + (fields.empty() ? std::string() : "," + std::string(fields)) + "}";
  }
  const StepMessage& accept(const std::string& fields) { return accept_body(step(fields)); }
  const StepMessage& accept_body(const std::string& body) {
    auto read = reader_.read(body);
    EXPECT_TRUE(read.has_value()) << body << ": " << (read ? "" : read.error().message);
    static const StepMessage kNone;
    return read ? read->steps.front() : kNone;
  }
  Error refuse(const std::string& fields) { return refuse_body(step(fields)); }
  Error refuse_body(const std::string& body) {
    auto read = reader_.read(body);
    EXPECT_FALSE(read.has_value()) << body;
    return read ? Error{} : read.error();
  }
  double scalar(const std::string& fields, Field f) {
    const StepMessage& m = accept(fields);
    EXPECT_TRUE(m.head.scalars.has(f)) << fields;
    return m.head.scalars[f];
  }

  StepReader reader_;
};

TEST_F(StepReaderTest, ReadsEveryScalarIntoItsField) {
  const StepMessage& m = accept(
      R"("epoch":1.5,"training":{"loss":-2,"grad_norm":3,"gradient_similarity":-0.5,"update_norm":4,"val_loss":5,
         "current_lr":6,"loss_scale":7,"perplexity":8},"weights":{"l1_norm":9,"l2_norm":10},
         "distribution":{"l1_norm":11,"l2_norm":12,"grad_norm_early":13,"grad_norm_mid":14,"grad_norm_late":15},
         "batch_meta":{"batch_size":16,"sequence_length":17,"accumulation_steps":18},"forward_ms":19,"backward_ms":20)");
  const double expected[engine::kFieldCount] = {-2, 3,  -0.5, 4,  5,   6,  7,  8,  9,  10, 11,
                                                12, 13, 14,   15, 1.5, 16, 17, 18, 19, 20};
  for (std::size_t i = 0; i < engine::kFieldCount; ++i) {
    ASSERT_TRUE(m.head.scalars.has(static_cast<Field>(i))) << i;
    EXPECT_EQ(m.head.scalars[static_cast<Field>(i)], expected[i]) << i;
  }
}

TEST_F(StepReaderTest, ReadsNonFiniteNumbersBareAndQuoted) {
  for (const char* nan : {"NaN", "\"NaN\"", "\"nan\"", "\"NAN\""}) {
    EXPECT_TRUE(std::isnan(scalar(std::string(R"("training":{"loss":)") + nan + "}", Field::kLoss))) << nan;
  }
  for (const char* inf : {"Infinity", "\"Infinity\"", "\"inf\"", "\"+Infinity\""}) {
    EXPECT_EQ(scalar(std::string(R"("training":{"grad_norm":)") + inf + "}", Field::kGradNorm),
              std::numeric_limits<double>::infinity())
        << inf;
  }
  for (const char* inf : {"-Infinity", "\"-Infinity\"", "\"-inf\""}) {
    EXPECT_EQ(scalar(std::string(R"("training":{"loss":)") + inf + "}", Field::kLoss),
              -std::numeric_limits<double>::infinity())
        << inf;
  }
  EXPECT_EQ(refuse(R"("training":{"loss":"2.5"})").field, "training.loss");
  EXPECT_EQ(refuse(R"("training":{"grad_norm":"-Infinity"})").field, "training.grad_norm");
}

TEST_F(StepReaderTest, AbsentAndNullAreNotObserved) {
  EXPECT_EQ(accept("").head.scalars.present(), 0u);
  EXPECT_EQ(
      accept(R"("epoch":null,"training":{"loss":null,"grad_norm":null},"weights":null,"sample_ids":null,"seq":null,
                      "model_type":null,"nan_detected":null,"control":null,"local_health":null)")
          .head.scalars.present(),
      0u);
}

// Whether a zero is a placeholder depends on the run: the engine's memory decides, not the reader.
TEST_F(StepReaderTest, PassesZeroesThrough) {
  const StepMessage& m = accept(R"("training":{"grad_norm":0,"update_norm":0.0,"val_loss":0.0,"current_lr":0.0})");
  for (const Field f : {Field::kGradNorm, Field::kUpdateNorm, Field::kValLoss, Field::kLearningRate}) {
    EXPECT_TRUE(m.head.scalars.has(f));
  }
}

TEST_F(StepReaderTest, UnknownFieldsAreIgnoredAtAnyDepth) {
  const StepMessage& m = accept(
      R"("gradients":[[1,2],{"a":[{}]}],"training":{"weights":{"loss":99},"loss":1,"x":"y"},"histogram":[1],"labels":["a"],
         "layer2_enabled":true,"intervention_secret_hash":"h","sentinel_handshake":{},"loss":77)");
  EXPECT_EQ(m.head.scalars[Field::kLoss], 1.0);
  std::string written;
  write_step(m, written);
  EXPECT_EQ(written, R"({"run_id":"r","step":7,"training":{"loss":1}})");
}

TEST_F(StepReaderTest, RunIdAndStepAreRequired) {
  EXPECT_EQ(refuse_body(R"({"step":1})").field, "run_id");
  EXPECT_EQ(refuse_body(R"({"run_id":"r"})").field, "step");
  EXPECT_EQ(refuse_body(R"({"run_id":"r","step":null})").field, "step");
  StepReader with_default({.default_run_id = "from-file"});
  auto read = with_default.read(R"({"step":1})");
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->steps[0].run_id(), "from-file");
}

TEST_F(StepReaderTest, RefusalsNameFieldValueAndWhatIsAccepted) {
  const Error e = refuse(R"("training":{"grad_norm":-1.5})");
  EXPECT_EQ(e.code, ErrorCode::kInvalid);
  EXPECT_EQ(e.field, "training.grad_norm");
  EXPECT_EQ(e.message,
            "training.grad_norm is -1.5; accepted: a number >= 0, NaN or Infinity (bare or quoted), or null");
}

struct Bad {
  const char* fields;
  const char* field;
};

TEST_F(StepReaderTest, RefusesWrongTypesAndImpossibleValues) {
  const Bad cases[] = {
      {R"("epoch":-1)", "epoch"},
      {R"("epoch":"NaN")", "epoch"},
      {R"("seq":-1)", "seq"},
      {R"("seq":1.5)", "seq"},
      {R"("segment":"x")", "segment"},
      {R"("nan_detected":1)", "nan_detected"},
      {R"("total_steps":-5)", "total_steps"},
      {R"("training":[])", "training"},
      {R"("training":{"loss":true})", "training.loss"},
      {R"("training":{"loss":[1]})", "training.loss"},
      {R"("training":{"gradient_similarity":1.5})", "training.gradient_similarity"},
      {R"("training":{"current_lr":-0.1})", "training.current_lr"},
      {R"("training":{"step_skipped":"yes"})", "training.step_skipped"},
      {R"("training":{"loss":1,"loss":2})", "training.loss"},
      {R"("weights":{"l2_norm":-1})", "weights.l2_norm"},
      {R"("distribution":{"grad_norm_mid":-1})", "distribution.grad_norm_mid"},
      {R"("batch_meta":{"batch_size":1.5})", "batch_meta.batch_size"},
      {R"("batch_meta":{"batch_size":-1})", "batch_meta.batch_size"},
      {R"("batch_meta":{"dtype":7})", "batch_meta.dtype"},
      {R"("sample_ids":[1.5])", "sample_ids[0]"},
      {R"("sample_ids":[1,null])", "sample_ids[1]"},
      {R"("sample_losses":[1,"x"])", "sample_losses[1]"},
      {R"("sample_correct":[2])", "sample_correct[0]"},
      {R"("sample_confidences":[1.5])", "sample_confidences[0]"},
      {R"("sample_entropies":[-1])", "sample_entropies[0]"},
      {R"("sample_ids":[1,2],"sample_losses":[1])", "sample_losses"},
      {R"("sample_losses":[1],"sample_entropies":[1,2])", "sample_entropies"},
      {R"("local_health":{"worst_level":"bad"})", "local_health.worst_level"},
      {R"("local_health":{"affected_fraction":1.5})", "local_health.affected_fraction"},
      {R"("control":{"mode":"FAST"})", "control.mode"},
      {R"("control":{"applied":[{"id":1,"kind":"JUMP","step":1,"ok":true}]})", "control.applied[0].kind"},
      {R"("control":{"applied":[{"id":1,"kind":"PAUSE","ok":true}]})", "control.applied[0].step"},
      {R"("model_type":5)", "model_type"},
  };
  for (const Bad& bad : cases) EXPECT_EQ(refuse(bad.fields).field, bad.field) << bad.fields;
  for (const char* step : {"-1", "1.5", "\"1\"", "9007199254740993", "99999999999999999999", "NaN", "true", "[]"}) {
    EXPECT_EQ(refuse_body(std::string(R"({"run_id":"r","step":)") + step + "}").field, "step") << step;
  }
  for (const char* id : {"\"\"", "\"a b\"", "5", "\"\xC3\xA4\""}) {
    EXPECT_EQ(refuse_body(std::string(R"({"step":1,"run_id":)") + id + "}").field, "run_id") << id;
  }
  for (const char* body : {"5", "null", "\"x\"", "[]", "[5]", "true"})
    EXPECT_EQ(refuse_body(body).code, ErrorCode::kInvalid) << body;
}

TEST_F(StepReaderTest, HoldsTheCountAndSizeLimits) {
  std::string ids = "\"sample_ids\":[0";
  for (std::size_t i = 1; i < limits::kSamplesMax; ++i) ids += ",0";
  EXPECT_EQ(accept(ids + "]").sample_ids.size(), limits::kSamplesMax);
  EXPECT_EQ(refuse(ids + ",0]").code, ErrorCode::kInvalid);
  accept("\"sdk_version\":\"" + std::string(limits::kTextBytesMax, 'x') + "\"");
  const Error e = refuse("\"sdk_version\":\"" + std::string(limits::kTextBytesMax + 1, 'x') + "\"");
  EXPECT_EQ(e.field, "sdk_version");
  EXPECT_LT(e.message.size(), 200u);
  refuse("\"sample_ids\":[\"" + std::string(limits::kTextBytesMax + 1, 'x') + "\"]");
  refuse_body(R"({"step":1,"run_id":")" + std::string(129, 'x') + "\"}");
}

TEST_F(StepReaderTest, ErrorsShowValuesBoundedAndPrintable) {
  const Error e = refuse("\"control\":{\"mode\":\"" + std::string(10'000, 'x') + "\\u0007\"}");
  EXPECT_LT(e.message.size(), 200u);
  EXPECT_EQ(refuse(R"("control":{"mode":"\u001b[2J"})").message.find('\x1b'), std::string::npos);
}

TEST_F(StepReaderTest, ReadsClientsSlips) {
  EXPECT_EQ(scalar(R"("batch_meta":{"seq_len":128})", Field::kSequenceLength), 128.0);
  EXPECT_EQ(scalar(R"("batch_meta":{"batch_size":32.0})", Field::kBatchSize), 32.0);
  EXPECT_FALSE(accept(R"("batch_meta":{"batch_size":0})").head.scalars.has(Field::kBatchSize));
  EXPECT_EQ(scalar(R"("training":{"gradient_similarity":1.0001})", Field::kGradientSimilarity), 1.0);
  EXPECT_EQ(accept_body(R"({"run_id":"r","step":10.0})").head.step, 10);
}

TEST_F(StepReaderTest, ReadsModelWords) {
  using engine::ModelFamily;
  const std::pair<const char*, ModelFamily> words[] = {{"transformer", ModelFamily::kTransformer},
                                                       {"llm", ModelFamily::kTransformer},
                                                       {"CNN", ModelFamily::kCnn},
                                                       {"vision", ModelFamily::kCnn},
                                                       {"rnn", ModelFamily::kRnn},
                                                       {"mlp", ModelFamily::kMlp},
                                                       {"diffusion", ModelFamily::kDiffusion},
                                                       {"rl", ModelFamily::kRl},
                                                       {"gan", ModelFamily::kGan},
                                                       {"moe", ModelFamily::kMoe},
                                                       {"ssm", ModelFamily::kSsm},
                                                       {"gnn", ModelFamily::kGnn},
                                                       {"other", ModelFamily::kOther},
                                                       {"quantum", ModelFamily::kOther}};
  for (const auto& [word, family] : words) {
    const StepMessage& m = accept(std::string("\"model_type\":\"") + word + "\"");
    EXPECT_EQ(m.head.family, family) << word;
    EXPECT_EQ(m.text(Text::kModelType), word);
  }
}

TEST_F(StepReaderTest, KeepsSampleIdsAsSent) {
  const StepMessage& m =
      accept(R"("sample_ids":[1,-2,"a/b",18446744073709551615,""],"sample_losses":[1,null,"NaN",NaN,5])");
  std::string written;
  write_step(m, written);
  EXPECT_NE(written.find(R"("sample_ids":[1,-2,"a/b",18446744073709551615,""])"), std::string::npos) << written;
  const engine::Step view = m.view();
  ASSERT_EQ(view.samples.losses.size(), 5u);
  EXPECT_TRUE(std::isnan(view.samples.losses[1]));
  EXPECT_EQ(view.samples.losses[4], 5.0);
}

TEST_F(StepReaderTest, ReadsControlAndLocalHealth) {
  const StepMessage& m = accept(
      R"("control":{"mode":"AUTO","applied":[{"id":3,"kind":"REDUCE_LR","step":5,"ok":false,"detail":"no group","extra":[]}]},
         "local_health":{"worst_level":"critical","trend":"rising","scale":2,"affected_fraction":0.25,"first_seen_step":4,
                         "last_stable_step":3,"top":["layer"]},"is_anchor":true,"seq":9,"segment":2,"total_steps":100)");
  EXPECT_EQ(m.head.mode, engine::ControlMode::kAuto);
  const engine::Step view = m.view();
  ASSERT_EQ(view.applied.size(), 1u);
  EXPECT_EQ(view.applied[0].id, 3u);
  EXPECT_EQ(view.applied[0].kind, engine::InterventionKind::kReduceLr);
  EXPECT_FALSE(view.applied[0].ok);
  EXPECT_EQ(m.applied_details[0], "no group");
  ASSERT_TRUE(view.local_health.has_value());
  EXPECT_EQ(view.local_health->worst_level, engine::HealthLevel::kCritical);
  EXPECT_EQ(view.local_health->affected_fraction, 0.25);
  EXPECT_EQ(m.text(Text::kHealthScale), "2");
  EXPECT_EQ(view.seq, 9u);
  EXPECT_EQ(view.segment, 2u);
  EXPECT_EQ(view.total_steps, 100);
  EXPECT_TRUE(view.is_anchor);
}

TEST_F(StepReaderTest, APackIsAtomic) {
  auto pack = reader_.read(R"([{"run_id":"r","step":1},{"run_id":"r","step":2}])");
  ASSERT_TRUE(pack.has_value());
  EXPECT_TRUE(pack->is_pack);
  EXPECT_EQ(pack->steps.size(), 2u);
  EXPECT_EQ(refuse_body(R"([{"run_id":"r","step":1},{"run_id":"r","step":2,"training":{"grad_norm":-1}}])").field,
            "[1].training.grad_norm");
  EXPECT_EQ(refuse_body(R"([{"run_id":"r","step":1},{"run_id":"q","step":2}])").field, "[1].run_id");
  std::string many = "[";
  for (std::size_t i = 0; i <= limits::kPackStepsMax; ++i) many += (i == 0 ? "" : ",") + step("");
  EXPECT_EQ(refuse_body(many + "]").code, ErrorCode::kTooLarge);
}

TEST_F(StepReaderTest, ContentHashSeesEveryFieldAndNoOrder) {
  const std::uint64_t base = accept(R"("epoch":1,"training":{"loss":1,"loss_delta":2})").head.content_hash;
  EXPECT_EQ(
      accept(R"("training":{"loss_delta":2.0,"loss":1.0},"epoch":1,"seq":5,"segment":1,"unknown":3)").head.content_hash,
      base);
  for (const char* other : {R"("epoch":1,"training":{"loss":1,"loss_delta":3})",
                            R"("epoch":1,"training":{"loss":1.0000000000000002,"loss_delta":2})",
                            R"("epoch":1,"training":{"loss":1,"loss_delta":2},"sample_ids":[1])",
                            R"("epoch":1,"training":{"loss":1,"loss_delta":2},"sample_ids":["1"])",
                            R"("epoch":1,"training":{"loss":1,"loss_delta":2},"sample_losses":[1])",
                            R"("epoch":1,"training":{"loss":1,"loss_delta":2},"nan_detected":true)",
                            R"("epoch":1,"training":{"loss":1,"loss_delta":2},"sdk_version":"x")",
                            R"("epoch":1,"training":{"loss":1,"loss_delta":2},"local_health":{})"}) {
    EXPECT_NE(accept(other).head.content_hash, base) << other;
  }
}

TEST_F(StepReaderTest, WhatIsWrittenReadsBackEqual) {
  const StepMessage& m = accept(
      R"("epoch":0.1,"seq":1,"segment":0,"model_type":"llm","sdk_version":"1","nan_detected":true,"total_steps":5,"total_epochs":2.5,
         "is_anchor":true,"training":{"loss":NaN,"loss_delta":1e-300,"grad_norm":Infinity,"step_skipped":true,"loss_scale":65536,
         "lr_restarted":true,"current_lr":1e-5},"batch_meta":{"seq_len":9,"vocab_size":9007199254740992,"dtype":"bf16"},
         "sample_ids":["\u00e4\n"],"sample_losses":[1e300],"sample_correct":[true],"forward_ms":0.5,
         "local_health":{"worst_level":"warn"},"control":{"mode":"AUTO","applied":[{"id":1,"kind":"NONE","step":0,"ok":true}]})");
  const std::uint64_t hash = m.head.content_hash;
  std::string first, second;
  write_step(m, first);
  const StepMessage& again = accept_body(first);
  EXPECT_EQ(again.head.content_hash, hash);
  write_step(again, second);
  EXPECT_EQ(first, second);
}

TEST(RunId, IsMadeOfAnyName) {
  EXPECT_EQ(run_id_from("my run (1)"), "my-run--1-");
  EXPECT_EQ(run_id_from(""), "run");
  EXPECT_TRUE(is_valid_run_id(run_id_from(std::string(500, 'x'))));
}

}  // namespace
}  // namespace argus::wire
