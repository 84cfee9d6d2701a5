// Words of clients for how a run stands. Published clients write them in their own ways; none may fail for it.
#pragma once

#include <optional>
#include <string_view>

#include "store/store.h"

namespace argus::runs {

/// Any case: RUNNING, COMPLETED, FAILED, STOPPED and what clients say for them (finished, success, error, crashed,
/// cancelled, interrupted, ...); nullopt: none of these.
std::optional<store::RunStatus> status_from_word(std::string_view word);

/// How a run ended that says `word`: an unknown word, or RUNNING, is COMPLETED, unless the client reported an error
/// with it: then FAILED. A run that says it ended has ended, whatever it calls that.
store::RunStatus final_status(std::string_view word, bool has_error);

}  // namespace argus::runs
