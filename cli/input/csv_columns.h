// Which column of a table is which field.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/input/step_source.h"
#include "engine/step.h"

namespace argus::cli {

/// A column that is read. `field` is empty for the step number.
struct CsvColumn {
  std::size_t index = 0;
  std::string name;  ///< as the file writes it
  std::optional<engine::Field> field;
};

/// The columns of a header that are known by their usual names (docs/cli.md lists them) or given in `names`; each field
/// once. Errors: kInvalid when a given name is not there, or when there is neither a loss nor a gradient norm.
Result<std::vector<CsvColumn>> find_columns(const std::vector<std::string>& header, const ColumnNames& names);

}  // namespace argus::cli
