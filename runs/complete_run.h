// The end of a run: what its certificate states is gathered from its log, signed, and kept with the last append.
#pragma once

#include <string>
#include <string_view>

#include "runs/change_work.h"

namespace argus::runs {

inline constexpr std::string_view kCertificateKind = "certificate";

/// Id of the certificate's document: the run's key in hex.
std::string certificate_document_id(const store::RunKey& key);

/// Completes the run, or finds that it was already and nothing has come since; `certificate` is the signed object in
/// either case. Blocking: reads the log once.
Result<bool> complete_run(Change& change, const Completion& completion, std::string& certificate);

}  // namespace argus::runs
