#include "server/reply.h"

#include <fmt/format.h>

#include <utility>

#include "wire/answer_writer.h"
#include "wire/json_writer.h"

namespace argus::server {

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kMalformed:
      return 400;
    case ErrorCode::kUnauthorized:
      return 401;
    case ErrorCode::kForbidden:
      return 403;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kConflict:
      return 409;
    case ErrorCode::kTooLarge:
      return 413;
    case ErrorCode::kInvalid:
      return 422;
    case ErrorCode::kRateLimited:
      return 429;
    case ErrorCode::kUnsupported:
      return 501;
    case ErrorCode::kUnavailable:
      return 503;
  }
  return 500;
}

HttpResponse json_response(std::string body, int status) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

HttpResponse error_response(const Error& error, int retry_after_s) {
  HttpResponse response;
  response.status = status_of(error.code);
  wire::write_error(error, response.body);
  if (response.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"argus\"");
  if (response.status == 429 || response.status == 503) {
    const int otherwise_s = response.status == 429 ? 60 : 1;
    response.headers.emplace_back("Retry-After", fmt::to_string(retry_after_s > 0 ? retry_after_s : otherwise_s));
  }
  return response;
}

HttpResponse refusal(int status, std::string_view word, std::string_view message, std::string_view field,
                     std::string_view hint) {
  HttpResponse response;
  response.status = status;
  wire::JsonWriter w(response.body);
  w.begin_object();
  w.key("error");
  w.begin_object();
  w.key("code");
  w.word(word);
  w.key("message");
  w.string(message);
  if (!field.empty()) {
    w.key("field");
    w.string(field);
  }
  if (!hint.empty()) {
    w.key("hint");
    w.string(hint);
  }
  w.end_object();
  w.end_object();
  return response;
}

}  // namespace argus::server
