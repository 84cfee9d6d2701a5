// The bodies of reading calls. Appended; strict JSON.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runs/run_reader.h"
#include "runs/series_reader.h"
#include "runs/timeline_fold.h"

namespace argus::server {

void write_run_list(const std::vector<store::RunInfo>& runs, std::uint64_t total, const store::RunQuery& query,
                    std::string& out);
void write_series(std::string_view run_id, const runs::Series& series, const runs::SeriesQuery& query,
                  std::string& out);
/// `{"run_id", NAME: [...], "next"}`: `items` are JSON already; `next` is null on the last page.
void write_page(std::string_view run_id, std::string_view name, const std::vector<std::string>& items,
                std::optional<std::uint64_t> next, std::string& out);
void write_episodes(std::string_view run_id, const runs::TimelineFold& fold, std::string& out);
void write_checkpoints(std::string_view run_id, const runs::TimelineFold& fold, std::string& out);
void write_interventions(std::string_view run_id, const runs::TimelineFold& fold, std::string& out);

}  // namespace argus::server
