#include <dlfcn.h>

#include <utility>

#include "core/base/error.h"
#include "core/outputs/embedding_formats.h"

namespace dnamamba::outputs {
namespace {

constexpr const char* kModule = "libdnamamba_parquet.so";

// Stays loaded until the process ends. Found where the program looks for its libraries.
OpenEmbeddings* load_module() {
  void* module = ::dlopen(kModule, RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr)
    throw base::UsageError(base::concat(".parquet needs ", kModule, ", which a build with Apache Arrow makes (",
                                        ::dlerror(), "); build it with ./do build, or write .npz, .h5ad or another"));
  auto* open = reinterpret_cast<OpenEmbeddings*>(::dlsym(module, kOpenParquet));
  if (open == nullptr) throw base::Error(base::concat(kModule, ": is of another version of dnamamba"));
  return open;
}

}  // namespace

std::unique_ptr<EmbeddingWriter> open_parquet_embeddings(const std::filesystem::path& path,
                                                         EmbeddingWriterOptions options) {
  static OpenEmbeddings* const open = load_module();
  return std::unique_ptr<EmbeddingWriter>(open(path, std::move(options)));
}

}  // namespace dnamamba::outputs
