// Trains a small network on noisy sines with LibTorch, watched by Argus; at step 600 the learning rate goes wrong.
//
//   train [STEPS]        the record goes to ~/.argus, or to ARGUS_URL; `argus runs` lists it
#include <argus/client.h>
#include <torch/torch.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <vector>

namespace {

constexpr std::int64_t kBatch = 64;
constexpr std::int64_t kAccident = 600;

torch::nn::Sequential make_network() {
  return torch::nn::Sequential(torch::nn::Linear(2, 64), torch::nn::Tanh(), torch::nn::Linear(64, 64),
                               torch::nn::Tanh(), torch::nn::Linear(64, 1));
}

void set_learning_rate(torch::optim::Optimizer& optimizer, double rate) {
  for (auto& group : optimizer.param_groups()) group.options().set_lr(rate);
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t steps = argc > 1 ? std::atoll(argv[1]) : 800;
  torch::manual_seed(1);
  torch::set_num_threads(1);
  torch::nn::Sequential network = make_network();
  torch::optim::SGD optimizer(network->parameters(), torch::optim::SGDOptions(0.02).momentum(0.9));

  argus::WatchOptions options;
  options.model_type = "mlp";
  options.total_steps = steps;
  const auto watched = argus::Run::watch(options);
  if (!watched.run) {
    std::cerr << watched.error << '\n';
    return 2;
  }
  argus::Run& run = *watched.run;
  std::cout << "run " << run.run_id() << '\n';

  int pressure = 0;
  for (std::int64_t step = 0; step < steps; ++step) {
    if (step == kAccident) set_learning_rate(optimizer, 20.0);
    const torch::Tensor x = torch::empty({kBatch, 2}).uniform_(-3.0, 3.0);
    const torch::Tensor y = torch::sin(x.select(1, 0)) * torch::cos(x.select(1, 1));
    optimizer.zero_grad();
    const torch::Tensor each = (network->forward(x).squeeze(1) - y - 0.05 * torch::randn({kBatch})).square();
    const torch::Tensor loss = each.mean();
    loss.backward();
    const double norm = torch::nn::utils::clip_grad_norm_(network->parameters(), 1e9);
    optimizer.step();

    const torch::Tensor losses = each.detach().to(torch::kDouble).contiguous();
    argus::Step observed;
    observed.step = step;
    observed.loss = loss.item<double>();
    observed.grad_norm = norm;
    observed.learning_rate = optimizer.param_groups()[0].options().get_lr();
    observed.batch_size = kBatch;
    observed.sample_losses = {losses.data_ptr<double>(), static_cast<std::size_t>(losses.numel())};
    const int now = run.observe(observed);
    if (now != pressure) std::cout << run.decision().summary() << '\n';
    pressure = now;
    for (const std::string& line : run.take_notices()) std::cerr << "argus: " << line << '\n';
    if (run.take_command() == argus::Command::stop) break;
  }
  const bool has_failed = pressure >= 2;
  const std::string certificate =
      run.complete(has_failed ? argus::Outcome::failed : argus::Outcome::completed, has_failed ? "diverged" : "");
  std::cout << (certificate.empty() ? "not delivered yet" : "delivered, certificate signed") << '\n';
  return 0;
}
