// The models that ship with the program, by name.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace dnamamba::model {

/// The model that is used where none is named.
inline constexpr const char* kDefaultModel = "dnamamba-tiny";

/// The folder pretrained/: DNAMAMBA_PRETRAINED if set, beside the installed program, or in the source tree it was built
/// from. Empty if none is there.
std::filesystem::path pretrained_folder();

/// Names of the models in pretrained/, sorted.
std::vector<std::string> shipped_models();

/// A folder as given if it is one, else the shipped model of that name. @throws base::Error naming what there is.
std::filesystem::path find_model(const std::string& name_or_folder);

}  // namespace dnamamba::model
