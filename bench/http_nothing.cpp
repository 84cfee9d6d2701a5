// A handler that does nothing, behind the server's own listener: the limit that every figure of ingest is held against.
// It reads the body and answers a fixed object of an answer's size. Would measure nothing if bodies were not read.
//
//   http_nothing [PORT] [THREADS]     prints READY http://127.0.0.1:PORT and serves until it is ended
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "server/http_listener.h"

int main(int argc, char** argv) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  argus::server::HttpOptions options;
  options.port = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0);
  options.threads = static_cast<unsigned>(argc > 2 ? std::atoi(argv[2]) : 0);
  const std::string answer = "{\"answer\":\"" + std::string(1200, 'x') + "\"}";
  auto listener = argus::server::HttpListener::bind(
      options, [&](const argus::server::HttpRequest& request, const argus::server::Respond& respond) {
        argus::server::HttpResponse response;
        response.status = request.body.empty() ? 422 : 200;
        response.body = answer;
        respond(std::move(response));
      });
  if (!listener) {
    std::fprintf(stderr, "%s\n", listener.error().message.c_str());
    return 1;
  }
  (*listener)->start();
  std::printf("READY http://127.0.0.1:%u\n", (*listener)->port());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ends, &signal);
  (*listener)->stop(5);
  return 0;
}
