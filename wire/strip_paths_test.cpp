#include "wire/strip_paths.h"

#include <gtest/gtest.h>

namespace argus::wire {
namespace {

TEST(StripPaths, KeepsTheLastPartOfPathsOfEitherKind) {
  const auto stripped = [](std::string text) {
    strip_paths(text);
    return text;
  };
  EXPECT_EQ(stripped("cannot open /mnt/ada/x.bin: no"), "cannot open x.bin: no");
  EXPECT_EQ(stripped(R"(File "C:\Users\ada\train.py", line 3)"), R"(File "train.py", line 3)");
  EXPECT_EQ(stripped("s3://bucket/run/x and ~/a/b/"), "x and b");
  EXPECT_EQ(stripped("loss is nan"), "loss is nan");
  EXPECT_EQ(stripped("/ //"), " ");
}

}  // namespace
}  // namespace argus::wire
