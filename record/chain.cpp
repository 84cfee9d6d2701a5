#include "record/chain.h"

#include <sodium.h>

namespace argus::record {

void Chain::add(std::string_view row) {
  crypto_generichash_state state;
  crypto_generichash_init(&state, nullptr, 0, head.size());
  crypto_generichash_update(&state, head.data(), head.size());
  crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(row.data()), row.size());
  crypto_generichash_final(&state, head.data(), head.size());
}

std::string Chain::hex() const {
  char text[2 * sizeof head + 1];
  sodium_bin2hex(text, sizeof text, head.data(), head.size());
  return text;
}

}  // namespace argus::record
