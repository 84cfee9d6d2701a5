// A real store in a folder of its own, gone with the object.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "store/sqlite/sqlite_store.h"

namespace argus::runs::testing {

class TempStore {
 public:
  TempStore() {
    std::string name = (std::filesystem::temp_directory_path() / "argus-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    store::SqliteOptions options;
    options.path = dir_ / "argus.db";
    options.durable = false;
    Result<std::unique_ptr<store::Store>> opened = store::open_sqlite(options);
    EXPECT_TRUE(opened.has_value()) << opened.error().message;
    store_ = std::move(*opened);
  }
  ~TempStore() {
    store_.reset();
    std::filesystem::remove_all(dir_);
  }
  TempStore(const TempStore&) = delete;
  TempStore& operator=(const TempStore&) = delete;

  store::Store& store() { return *store_; }

 private:
  std::filesystem::path dir_;
  std::unique_ptr<store::Store> store_;
};

}  // namespace argus::runs::testing
