// The formats behind open_embedding_writer().
#pragma once
#include <filesystem>
#include <memory>

#include "core/outputs/embedding_writer.h"

namespace dnamamba::outputs {

std::unique_ptr<EmbeddingWriter> open_npz_embeddings(const std::filesystem::path& path, EmbeddingWriterOptions options);
std::unique_ptr<EmbeddingWriter> open_npy_embeddings(const std::filesystem::path& path, EmbeddingWriterOptions options);
std::unique_ptr<EmbeddingWriter> open_tsv_embeddings(const std::filesystem::path& path, EmbeddingWriterOptions options);
std::unique_ptr<EmbeddingWriter> open_tsv_gz_embeddings(const std::filesystem::path& path,
                                                        EmbeddingWriterOptions options);
std::unique_ptr<EmbeddingWriter> open_h5ad_embeddings(const std::filesystem::path& path,
                                                      EmbeddingWriterOptions options);
std::unique_ptr<EmbeddingWriter> open_safetensors_embeddings(const std::filesystem::path& path,
                                                             EmbeddingWriterOptions options);

/// The only one that is in a module, libdnamamba_parquet.so: it loads it.
/// @throws base::UsageError where the program was built without Arrow.
std::unique_ptr<EmbeddingWriter> open_parquet_embeddings(const std::filesystem::path& path,
                                                         EmbeddingWriterOptions options);
/// What the module has under the name kOpenParquet; the caller owns the writer.
using OpenEmbeddings = EmbeddingWriter*(const std::filesystem::path& path, EmbeddingWriterOptions options);
inline constexpr const char* kOpenParquet = "dnamamba_open_parquet_embeddings";

}  // namespace dnamamba::outputs
