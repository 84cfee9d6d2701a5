// The spool on a disk: what Spool::open() returns. See client/spool.h for the promises, docs/formats/spool.md for the
// bytes.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "client/spool.h"
#include "client/spool_files.h"
#include "client/spool_format.h"
#include "client/spool_log.h"

namespace argus::client::spool {

class DiskSpool final : public Spool {
 public:
  DiskSpool(const SpoolOptions& options, FolderLock lock, Log log, File cursor);
  ~DiskSpool() override {
    if (lock_.is_ours()) close();
  }

  Status append(const SpoolRecord& record, std::string_view body) override;
  Status sync() override;
  const SpoolEntry* front() override;
  void pop() override;
  void reject(std::string_view reason) override;
  std::uint64_t bytes() const override { return bytes_; }
  std::uint64_t records() const override { return records_; }
  std::uint64_t steps() const override { return steps_; }
  const SpoolLosses& losses() const override { return cursor_.losses; }

 private:
  struct Front {
    SpoolEntry entry;
    std::uint64_t index = 0;
    std::uint64_t end_offset = 0;  // of the record in its segment
  };

  void add(const Segment& segment);
  void subtract(const Segment& segment);
  Status refuse(const SpoolRecord& record, Error error);
  Status begin_segment();
  void end_segment();
  bool is_active(const Segment& segment) const { return active_.is_open() && &segment == &segments_.back(); }
  Status write_active(std::string_view bytes);
  Status sync_file(File& file) const { return options_.durable ? file.sync() : Status(); }

  void make_room(std::uint64_t bytes);
  bool strip_oldest();
  bool strip(Segment& segment);
  struct Stripped {
    std::string bytes;        // of the whole segment
    Segment segment;          // as it then is
    Cursor cursor;            // with what was found damaged
    std::uint32_t steps = 0;  // that lost their samples, and were not counted yet
  };
  std::optional<Stripped> without_samples_of(const Segment& segment) const;
  void drop_oldest();

  bool read_front(Segment& segment);
  void take_front(Segment& segment, const RecordHeader& header);
  void remove_oldest();
  void remove_popped();
  void forget_front() { front_.reset(); }

  void save_cursor();
  void close();
  void keep_refused(const Front& front, std::string_view reason) const;
  void changed() const {
    if (options_.after_write_for_test) options_.after_write_for_test();
  }

  SpoolOptions options_;
  const FolderLock lock_;
  const SystemClock clock_;
  Cursor cursor_;
  std::uint64_t sequence_;
  std::uint64_t next_index_;
  std::uint64_t next_number_ = 1;
  std::deque<Segment> segments_;  // oldest first
  std::uint64_t bytes_ = 0, records_ = 0, steps_ = 0;

  File cursor_file_;
  File active_;   // the newest segment while it is written: never one of an earlier life, whose end may be torn
  File reading_;  // the oldest segment, once a record of it was read
  std::uint64_t read_offset_ = 0;
  std::optional<Front> front_;          // read, and not yet popped
  std::optional<std::uint64_t> given_;  // its index; kept when front_ is forgotten
  std::uint32_t given_steps_ = 0;

  bool is_folder_dirty_ = false, is_cursor_dirty_ = false, is_active_dirty_ = false;
  std::int64_t synced_ms_ = 0;
};

}  // namespace argus::client::spool
