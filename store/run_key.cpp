#include <sodium.h>

#include "store/store.h"

namespace argus::store {

RunKey run_key(std::string_view owner, std::string_view run_id) {
  RunKey key{};
  crypto_generichash_state state;
  const auto bytes = [](std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); };
  crypto_generichash_init(&state, nullptr, 0, key.size());
  crypto_generichash_update(&state, bytes(owner), owner.size());
  const unsigned char separator = 0;  // neither part holds a NUL: no two pairs give the same bytes
  crypto_generichash_update(&state, &separator, 1);
  crypto_generichash_update(&state, bytes(run_id), run_id.size());
  crypto_generichash_final(&state, key.data(), key.size());
  return key;
}

}  // namespace argus::store
