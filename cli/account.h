// What a replay found, for people.
#pragma once

#include <string>

#include "cli/summary.h"

namespace argus::cli {

/// Appends a paragraph per run: its episodes (when, which signals, how far, since when, what was recommended, where the
/// anchor was), its notes, or that there is nothing to report.
void write_account(const FileSummary& file, std::string& out);

}  // namespace argus::cli
