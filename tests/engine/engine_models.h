// Small models, sequences, and their files, for tests of whole jobs.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "core/model/model_folder.h"
#include "tests/support/models.h"
#include "tests/support/temp_dir.h"

namespace dnamamba::test {

/// Two Mamba-1 layers of 16 with random weights, and the program's own letters.
inline model::Model small_model(at::ScalarType dtype = at::kFloat) {
  model::Model model;
  model.alphabet = tokens::Alphabet::built_in("dnamamba");
  model.config = model::mamba1_config(16, 2);
  model.parameters = random_parameters(model.config, 7, dtype);
  for (auto& [name, tensor] : model.parameters) tensor.requires_grad_(false);
  return model;
}

struct Sequence {
  std::string name;
  std::string bases;
};

inline std::string random_bases(RandomTensors& random, std::int64_t length) {
  std::string bases(static_cast<std::size_t>(length), 'A');
  for (char& base : bases) base = "ACGT"[random.between(0, 3)];
  return bases;
}

inline std::string complement_of(const std::string& bases) {
  std::string other(bases.rbegin(), bases.rend());
  const std::string from = "ACGTacgt", to = "TGCAtgca";
  for (char& base : other)
    if (const std::size_t place = from.find(base); place != std::string::npos) base = to[place];
  return other;
}

/// The path of a FASTA file of them, lines of 60.
inline std::string write_fasta(const TempDir& folder, const std::string& file, const std::vector<Sequence>& sequences) {
  std::string text;
  for (const auto& [name, bases] : sequences) {
    text += ">" + name + "\n";
    for (std::size_t i = 0; i < bases.size(); i += 60) text += bases.substr(i, 60) + "\n";
  }
  return folder.write(file, text);
}

}  // namespace dnamamba::test
