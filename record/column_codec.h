// Numbers of one column as few bytes, exactly: what chunks are made of (docs/formats/chunk.md, "Columns").
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace argus::record {

/// Appends the column. Loggers print few digits, so most numbers are m / 10^e with a small m: those are kept as
/// digits, the others as their 8 bytes, both split into planes of like bytes and compressed. Lossless to the bit.
void encode_reals(std::span<const double> values, std::string& out);
/// Appends to `out`. False on anything encode_reals() does not write, or more than `count_max` values.
bool decode_reals(std::string_view bytes, std::size_t count_max, std::vector<double>& out);

/// Differences, zigzag, LEB128, compressed.
void encode_integers(std::span<const std::int64_t> values, std::string& out);
bool decode_integers(std::string_view bytes, std::size_t count_max, std::vector<std::int64_t>& out);

}  // namespace argus::record
