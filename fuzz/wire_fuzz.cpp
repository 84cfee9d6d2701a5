// Hostile request bodies: the reader never crashes, and what it accepts reads back equal after being written.
//
// Input: the bytes of one body.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "wire/step_reader.h"
#include "wire/step_writer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static argus::wire::StepReader reader({.default_run_id = "fuzz"});
  static argus::wire::StepReader second({.default_run_id = "fuzz"});
  const auto body = reader.read({reinterpret_cast<const char*>(data), size});
  if (!body) {
    if (body.error().message.empty()) std::abort();
    return 0;
  }
  std::string text;
  std::string again;
  for (const argus::wire::StepMessage& message : body->steps) {
    text.clear();
    again.clear();
    argus::wire::write_step(message, text);
    const auto reread = second.read(text);
    if (!reread) std::abort();
    if (reread->steps.front().head.content_hash != message.head.content_hash) std::abort();
    argus::wire::write_step(reread->steps.front(), again);
    if (again != text) std::abort();
  }
  return 0;
}
