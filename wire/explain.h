// Everything a training process can ever send, told from the tables that reader and writer use.
#pragma once

#include <string>

namespace argus::wire {

/// For people: one group a call, one line a field. Lines end in a newline. Stateless, about 50 us.
std::string explain_telemetry_text();

/// The same as one JSON object:
///   {"calls": [{"call", "stream", "when", "fields": [{"path", "type", "meaning", "example", "events"?}]}],
///    "headers": [{"path", "type", "meaning", "example"}]}
/// `stream` is detection, analytics or control; `path` is that of the value in the body, "[]" for each object of an
/// array; `events` (analytics only) are the events that carry it.
std::string explain_telemetry_json();

}  // namespace argus::wire
