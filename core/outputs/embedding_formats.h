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

}  // namespace dnamamba::outputs
