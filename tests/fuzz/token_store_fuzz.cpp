// Any bytes as a token store, or any blocks as one whose checksums are right; parts read as the whole does.
#include "core/tokens/token_store.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/memory_file.h"

namespace dnamamba::fuzz {
namespace {

using tokens::BlockKind;
using tokens::RawBlock;

void append(std::string& out, std::span<const std::byte> bytes) {
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// A store of the blocks that `script` lists: kind, count and length, a byte each, then the bytes. An alphabet without
// any is the program's own.
std::string store_of(std::span<const std::uint8_t> script) {
  std::string out;
  std::vector<std::byte> index;
  std::uint32_t blocks = 0;
  append(out, tokens::store_head());
  while (script.size() >= 3) {
    RawBlock block{static_cast<BlockKind>(script[0]), script[1]};
    const auto content = script.subspan(3, std::min<std::size_t>(script[2], script.size() - 3));
    script = script.subspan(3 + content.size());
    const std::string own = tokens::Alphabet::built_in("dnamamba").to_json();
    const auto bytes =
        block.kind == BlockKind::kAlphabet && content.empty() ? std::as_bytes(std::span(own)) : std::as_bytes(content);
    block.bytes.assign(bytes.begin(), bytes.end());
    const std::vector<std::byte> stored = tokens::compressed(block);
    append(out, stored);
    index.insert(index.end(), stored.begin(), stored.begin() + tokens::BlockHeader::kBytes);
    ++blocks;
  }
  const auto offset = static_cast<std::int64_t>(out.size());
  append(out, tokens::compressed({BlockKind::kIndex, blocks, index}));
  append(out, tokens::store_end(offset));
  return out;
}

void read_all(const tokens::TokenStore& store) {
  for (std::int64_t i = 0; i < store.sequences(); ++i) {
    const std::int64_t length = store.length(i);
    std::vector<std::uint8_t> ids(length), masked(length), part(length / 2), part_masked(length / 2);
    store.read(i, 0, ids, masked);
    store.read(i, length - length / 2, part, part_masked);
    for (const std::uint8_t id : ids) require(id < store.alphabet().vocabulary(), "ids are of the alphabet");
    require(std::equal(part.begin(), part.end(), ids.end() - length / 2), "a part has the ids of the whole");
    require(std::equal(part_masked.begin(), part_masked.end(), masked.end() - length / 2), "and its soft-mask");
  }
}

}  // namespace
}  // namespace dnamamba::fuzz

int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba;
  const std::string_view text = fuzz::text_of(data, size);
  const test::MemoryFile file(text.starts_with("DNAZ") ? std::string(text) : fuzz::store_of({data, size}));
  fuzz::refusal([&] { fuzz::read_all(tokens::TokenStore(file.path())); });
  return 0;
}
