// Trains nothing: makes a run that goes wrong, and holds the installed library to what its header says.
#include <argus/client.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "not so: %s\n", what);
}

argus::Step step_of(std::int64_t number, double loss) {
  argus::Step s;
  s.step = number;
  s.loss = loss;
  s.grad_norm = 1.0 + 0.01 * static_cast<double>(number * 7 % 5);
  s.learning_rate = 1e-3;
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  argus::WatchOptions options;
  options.run_id = "a b";
  expect(!argus::Run::watch(options).run, "a run id with a blank is refused");
  options.run_id = "stranger";
  options.home = argv[1];
  auto watched = argus::Run::watch(options);
  if (!watched.run) {
    std::fprintf(stderr, "%s\n", watched.error.c_str());
    return 1;
  }
  argus::Run& run = *watched.run;
  for (std::int64_t i = 0; i < 200; ++i)
    expect(run.observe(step_of(i, 2.0 + 0.01 * static_cast<double>(i * 3 % 7))) == 0,
           "a healthy step is at pressure 0");
  int pressure = 0;
  for (std::int64_t i = 200; i < 210; ++i) pressure = run.observe(step_of(i, std::nan("")));
  expect(pressure == 3, "a loss that is no number is critical");
  expect(run.decision().harm_pressure == pressure && !run.decision().signals.empty(), "the decision says why");
  expect(run.observe(step_of(-1, 1.0)) == pressure && run.take_notices().size() == 1, "a step below 0 changes nothing");
  const std::string certificate = run.complete(argus::Outcome::failed, "diverged", std::chrono::seconds(60));
  expect(certificate.find("\"stranger\"") != std::string::npos, "the certificate names the run");
  expect(run.delivery().delivered == 210 && run.delivery().waiting == 0, "every step was delivered");
  expect(run.close(std::chrono::seconds(60)), "closing finds all delivered");
  expect(!argus::version().empty(), "the library has a version");
  return failures == 0 ? 0 : 1;
}
