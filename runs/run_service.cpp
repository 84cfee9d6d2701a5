#include "runs/run_service.h"

#include <sodium.h>

#include <future>
#include <mutex>
#include <utility>

#include "runs/change_work.h"
#include "runs/complete_run.h"
#include "runs/observe_work.h"
#include "runs/retention.h"
#include "runs/scheduler.h"
#include "runs/timeline.h"
#include "wire/words.h"

namespace argus::runs {
namespace {

constexpr std::size_t kSpareWorksMax = 256;

Error not_found(std::string_view run_id) {
  return Error{ErrorCode::kNotFound, "there is no run " + std::string(run_id), "run_id",
               "the first POST /v2/detect or POST /v2/runs of a run makes it"};
}

Error wrong_field(std::string field, std::string_view what) {
  return Error{ErrorCode::kInvalid, field + " " + std::string(what), field, ""};
}

std::string sha256_hex(std::string_view text) {
  unsigned char hash[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(hash, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  char hex[2 * sizeof hash + 1];
  sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
  return hex;
}

bool is_sha256_hex(std::string_view text) {
  if (text.size() != 64) return false;
  for (const char c : text) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))) return false;
  }
  return true;
}

std::string in_lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

}  // namespace

struct RunService::Impl {
  Impl(store::Store& s, const Clock& c, CertificateSigner& signer, const RunServiceOptions& options)
      : context{s, c, signer}, scheduler(context, options) {}

  WorkContext context;
  std::mutex spare_mutex;
  std::vector<std::shared_ptr<ObserveWork>> spare;  // their buffers have grown already
  Scheduler scheduler;                              // last: it waits for works, which come back to `spare`

  std::shared_ptr<ObserveWork> take_work() {
    {
      const std::lock_guard lock(spare_mutex);
      if (!spare.empty()) {
        std::shared_ptr<ObserveWork> work = std::move(spare.back());
        spare.pop_back();
        return work;
      }
    }
    return std::make_shared<ObserveWork>();
  }

  void give_back(std::shared_ptr<ObserveWork> work) {
    if (!work->is_small()) return;
    const std::lock_guard lock(spare_mutex);
    if (spare.size() < kSpareWorksMax) spare.push_back(std::move(work));
  }

  // Blocks until the change is durable, refused, or there was nothing to change.
  Status change(std::string_view owner, std::string_view run_id, bool blocks, ChangeRun change_run) {
    std::promise<Status> promise;
    std::future<Status> done = promise.get_future();
    scheduler.submit(owner, run_id,
                     std::make_shared<ChangeWork>(std::move(change_run), blocks,
                                                  [&promise](const Status& status) { promise.set_value(status); }));
    return done.get();
  }

  // The same for a run that must exist. Looked up first: names that are not there must not fill the table of runs.
  Status change_existing(std::string_view owner, std::string_view run_id, bool blocks, ChangeRun change_run) {
    const auto row = context.store.find_run(store::run_key(owner, run_id));
    if (!row) return row.error();
    if (!*row) return not_found(run_id);
    return change(owner, run_id, blocks, [&](Change& c) -> Result<bool> {
      if (c.is_new) return not_found(run_id);
      return change_run(c);
    });
  }
};

RunService::RunService(store::Store& store, const Clock& clock, CertificateSigner& signer, RunServiceOptions options)
    : impl_(std::make_unique<Impl>(store, clock, signer, options)) {}
RunService::~RunService() = default;

void RunService::observe(std::string_view owner, std::span<const wire::StepMessage> steps, bool is_pack,
                         AnswerForm form, ObserveDone done) {
  std::shared_ptr<ObserveWork> work = impl_->take_work();
  work->begin(steps, is_pack, form, std::move(done));
  work->recycle = [impl = impl_.get(), self = std::weak_ptr(work)] {
    if (std::shared_ptr<ObserveWork> again = self.lock()) impl->give_back(std::move(again));
  };
  impl_->scheduler.submit(owner, steps[0].run_id(), work);
}

Result<Registered> RunService::register_run(std::string_view owner, const Registration& r) {
  if (!r.secret_hash.empty() && !is_sha256_hex(r.secret_hash)) {
    return wrong_field("intervention_secret_hash", "is not 64 hexadecimal digits (SHA-256 of the secret)");
  }
  const std::string secret_hash = in_lower_case(r.secret_hash);
  Registered result;
  const Status status = impl_->change(owner, r.run_id, false, [&](Change& c) -> Result<bool> {
    result.run = c.info;
    result.created = c.is_new || (!r.idempotency_key.empty() && r.idempotency_key == c.head.idempotency_key);
    const bool adds_secret = !secret_hash.empty() && c.head.secret_hash.empty();
    if (!secret_hash.empty() && !adds_secret && secret_hash != c.head.secret_hash) {
      return Error{ErrorCode::kConflict, "the run has another intervention secret, which cannot be changed",
                   "intervention_secret_hash", "register under another run_id"};
    }
    if (!c.is_new && !adds_secret) return false;
    c.head.secret_hash = secret_hash.empty() ? c.head.secret_hash : secret_hash;
    if (c.is_new) {
      c.head.model_type = r.model_type;
      c.head.family = wire::family_from_word(r.model_type);
      c.head.sdk_version = r.sdk_version;
      c.head.total_steps = r.total_steps;
      c.head.total_epochs = r.total_epochs;
      c.head.idempotency_key = r.idempotency_key;
      write_registered({c.now_ms, -1, 0}, c.head, c.events);
    }
    return true;
  });
  if (!status) return status.error();
  return result;
}

Status RunService::heartbeat(std::string_view owner, std::string_view run_id, store::RunStatus status) {
  return impl_->change_existing(owner, run_id, false, [status](Change& c) -> Result<bool> {
    // A heartbeat that was overtaken by the run's end does not bring it back; a step does.
    if (status == store::RunStatus::kRunning && c.info.status != store::RunStatus::kRunning) return false;
    c.info.status = status;
    return true;
  });
}

Status RunService::reset(std::string_view owner, std::string_view run_id, std::int64_t step) {
  return impl_->change_existing(owner, run_id, false, [step](Change& c) -> Result<bool> {
    if (c.head.reset_pending) return false;
    c.head.reset_pending = true;
    c.head.reset_step = step;
    c.resets_engine = true;
    write_reset({c.now_ms, -1, 0}, step, c.events);
    return true;
  });
}

Result<std::string> RunService::complete(std::string_view owner, const Completion& completion) {
  std::string certificate;
  const Status status = impl_->change_existing(owner, completion.run_id, true, [&](Change& c) -> Result<bool> {
    return complete_run(c, completion, certificate);
  });
  if (!status) return status.error();
  return certificate;
}

Status RunService::command(std::string_view owner, std::string_view run_id, CommandKind kind, std::string_view secret) {
  const store::RunKey key = store::run_key(owner, run_id);
  const std::string hash = sha256_hex(secret);
  return impl_->change_existing(owner, run_id, false, [&](Change& c) -> Result<bool> {
    if (!impl_->scheduler.may_try_secret(key)) {
      return Error{ErrorCode::kRateLimited, "too many wrong secrets for this run", "secret", "wait a minute"};
    }
    const std::string& registered = c.head.secret_hash;
    if (registered.size() != hash.size() || sodium_memcmp(registered.data(), hash.data(), hash.size()) != 0) {
      impl_->scheduler.count_wrong_secret(key);
      return Error{ErrorCode::kForbidden,
                   registered.empty() ? "the run registered no intervention secret" : "the secret is not the run's",
                   "secret", "the secret whose SHA-256 the run registered as intervention_secret_hash"};
    }
    if (kind == CommandKind::kStart) {
      if (c.head.start_granted) return false;
      c.head.start_granted = true;
    } else {
      if (c.head.command == kind) return false;
      c.head.command = kind;
    }
    write_command({c.now_ms, -1, 0}, kind, false, c.events);
    return true;
  });
}

Status RunService::note_report(std::string_view owner, std::string_view run_id, std::string_view kind,
                               std::string_view body) {
  return impl_->change_existing(owner, run_id, false, [&](Change& c) -> Result<bool> {
    write_report({c.now_ms, -1, 0}, kind, body, c.events);
    return true;
  });
}

Result<bool> RunService::take_start(std::string_view owner, std::string_view run_id) {
  bool taken = false;
  const Status status = impl_->change_existing(owner, run_id, false, [&](Change& c) -> Result<bool> {
    taken = c.head.start_granted;
    c.head.start_granted = false;
    if (taken) write_command({c.now_ms, -1, 0}, CommandKind::kStart, true, c.events);
    return taken;
  });
  if (!status) return status.error();
  return taken;
}

Result<std::optional<store::RunInfo>> RunService::find(std::string_view owner, std::string_view run_id) {
  return impl_->context.store.find_run(store::run_key(owner, run_id));
}

Result<std::optional<std::string>> RunService::certificate(std::string_view owner, std::string_view run_id) {
  Result<std::optional<store::Document>> document =
      impl_->context.store.find_document(kCertificateKind, certificate_document_id(store::run_key(owner, run_id)));
  if (!document) return document.error();
  if (!*document) return std::optional<std::string>();
  return std::optional<std::string>(std::move((*document)->body));
}

Result<bool> RunService::remove(std::string_view owner, std::string_view run_id) {
  const store::RunKey key = store::run_key(owner, run_id);
  Result<bool> deleted = delete_run_with_documents(impl_->context.store, key);
  impl_->scheduler.forget(key);
  return deleted;
}

void RunService::drain() { impl_->scheduler.drain(); }
std::size_t RunService::live_runs() const { return impl_->scheduler.live_runs(); }

}  // namespace argus::runs
