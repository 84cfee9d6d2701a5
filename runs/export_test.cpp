#include "runs/export.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runs/certificate.h"
#include "runs/run_head.h"
#include "runs/testing/kept_run.h"
#include "runs/testing/log_audit.h"

namespace argus::runs {
namespace {

using nlohmann::json;
using testing::KeptRun;
using testing::MessageSource;
using testing::TempStore;

std::vector<std::string> exported(store::Store& store, const store::RunKey& key,
                                  ExportSecrets secrets = ExportSecrets::kKept) {
  std::vector<std::string> lines;
  const auto take = [&](std::string_view line) {
    lines.emplace_back(line);
    return true;
  };
  const Status done = export_run(store, key, take, secrets);
  EXPECT_TRUE(done.has_value()) << (done ? "" : done.error().message);
  return lines;
}

Status import(const std::vector<std::string>& lines, store::Store& store) {
  ExportReader reader(true);
  for (const std::string& line : lines) {
    if (Status added = reader.add(line); !added) return added;
  }
  if (Status whole = reader.finish(); !whole) return whole;
  return reader.store_in(store, "");
}

void expect_sound(store::Store& store, const store::RunKey& key) {
  for (const std::string& complaint : testing::audit_log(store, key).complaints) ADD_FAILURE() << complaint;
}

std::vector<std::string> of_kind(const std::vector<std::string>& lines, const std::string& prefix) {
  std::vector<std::string> found;
  for (const std::string& line : lines) {
    if (line.starts_with(prefix)) found.push_back(line);
  }
  return found;
}

TEST(Export, ComesBackAsItWas) {
  KeptRun run(40);
  run.observe(4200);
  run.observe_not_finite();
  run.rewind_to(4100);
  run.observe(300, 7, 30.0);
  run.reset_at(4000);
  run.observe(20);
  ASSERT_TRUE(run.service().complete("local", {.run_id = "run"}));
  const std::vector<std::string> lines = exported(run.store(), run.key());
  TempStore other;
  const Status imported = import(lines, other.store());
  ASSERT_TRUE(imported) << imported.error().message;
  expect_sound(other.store(), run.key());
  const std::vector<std::string> again = exported(other.store(), run.key());
  for (const char* kind : {"{\"argus_export\"", "{\"index\"", "{\"event\"", "{\"certificate\"", "{\"end\""}) {
    EXPECT_EQ(of_kind(lines, kind), of_kind(again, kind));
  }
}

TEST(Export, OfManyChunksComesBackWhole) {
  KeptRun run(46);
  run.observe(11'000);
  run.observe(50, 10, 40.0);
  ASSERT_TRUE(run.service().complete("local", {.run_id = "run"}));
  TempStore other;
  const Status imported = import(exported(run.store(), run.key()), other.store());
  ASSERT_TRUE(imported) << imported.error().message;
  expect_sound(other.store(), run.key());
  EXPECT_EQ(exported(other.store(), run.key()).back(), exported(run.store(), run.key()).back());
}

TEST(Export, AnUnfinishedRunGoesOnWhereItStood) {
  MessageSource source({.run_id = "run", .seed = 41});
  KeptRun first(1);
  for (int i = 0; i < 20; ++i) first.send(source.next_pack(50));
  const std::vector<std::string> lines = exported(first.store(), first.key());
  KeptRun second(2);
  const Status imported = import(lines, second.store());
  ASSERT_TRUE(imported) << imported.error().message;
  for (int i = 0; i < 8; ++i) {
    const std::vector<wire::StepMessage> pack = source.next_pack(50, i == 5 ? 40.0 : 1.0);
    first.send(pack);
    second.send(pack);
  }
  expect_sound(second.store(), second.key());
  EXPECT_EQ(read_head(first.row().head)->chain.hex(), read_head(second.row().head)->chain.hex());
}

TEST(Export, IsTheRunAsItStoodWhateverIsCompactedMeanwhile) {
  KeptRun run(42);
  run.observe(700, 10, 1.0);
  run.observe(100, 10, 40.0);
  const std::vector<std::string> before = exported(run.store(), run.key());
  std::vector<std::string> lines;
  const auto take = [&](std::string_view line) {
    lines.emplace_back(line);
    if (lines.size() == 100) {
      run.observe(5000);
      run.settle();
    }
    return true;
  };
  ASSERT_TRUE(export_run(run.store(), run.key(), take));
  for (const char* kind : {"{\"argus_export\"", "{\"index\"", "{\"event\"", "{\"end\""}) {
    EXPECT_EQ(of_kind(before, kind), of_kind(lines, kind));
  }
}

TEST(Export, RefusesARunThatIsThere) {
  KeptRun run(43);
  run.observe(50);
  const Status imported = import(exported(run.store(), run.key()), run.store());
  ASSERT_FALSE(imported);
  EXPECT_EQ(imported.error().code, ErrorCode::kConflict);
}

TEST(Export, RefusesWhatWasChanged) {
  KeptRun run(44);
  run.observe(60);
  const std::vector<std::string> lines = exported(run.store(), run.key());
  const auto refused = [](const std::vector<std::string>& changed) {
    TempStore other;
    return !import(changed, other.store()).has_value();
  };
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].starts_with("{\"event\"")) continue;  // the chain is over telemetry and decisions
    std::vector<std::string> without = lines;
    without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_TRUE(refused(without)) << "without line " << i;
    if (!lines[i].starts_with("{\"index\"")) continue;
    std::vector<std::string> twice = lines;
    twice.insert(twice.begin() + static_cast<std::ptrdiff_t>(i), lines[i]);
    EXPECT_TRUE(refused(twice)) << "with line " << i << " twice";
    std::vector<std::string> other_loss = lines;
    const std::size_t at = other_loss[i].find("\"loss\":") + 7;
    other_loss[i][at] = other_loss[i][at] == '1' ? '2' : '1';
    EXPECT_TRUE(refused(other_loss)) << "with another loss in line " << i;
  }
}

TEST(Export, ForReadersHoldsNoHashOfTheSecret) {
  KeptRun run(45);
  const std::string hash(64, 'a');
  Registration registration;
  registration.run_id = "run";
  registration.secret_hash = hash;
  registration.idempotency_key = "once";
  ASSERT_TRUE(run.service().register_run("local", registration));
  run.observe(20);
  for (const ExportSecrets secrets : {ExportSecrets::kKept, ExportSecrets::kLeftOut}) {
    TempStore other;
    ASSERT_TRUE(import(exported(run.store(), run.key(), secrets), other.store()));
    const RunHead head = *read_head((**other.store().find_run(run.key())).head);
    EXPECT_EQ(head.secret_hash, secrets == ExportSecrets::kKept ? hash : "");
    EXPECT_EQ(head.idempotency_key, secrets == ExportSecrets::kKept ? "once" : "");
  }
}

}  // namespace
}  // namespace argus::runs
