// Responses in the protocol's form: JSON bodies, and errors with their status from one table.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "server/http.h"

namespace argus::server {

/// The HTTP status of an error code.
int status_of(ErrorCode code);

/// 200 (or `status`) with a JSON body.
HttpResponse json_response(std::string body, int status = 200);

/// The protocol's error body with the status of its code. 429 and 503 carry Retry-After: `retry_after_s` when above 0,
/// else 60 and 1. 401 carries WWW-Authenticate.
HttpResponse error_response(const Error& error, int retry_after_s = 0);

/// An error that has no code of its own in base/: a status, a word and a sentence.
HttpResponse refusal(int status, std::string_view word, std::string_view message, std::string_view field = {},
                     std::string_view hint = {});

}  // namespace argus::server
