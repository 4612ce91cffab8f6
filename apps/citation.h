// How to cite the program and what it computes with.
#pragma once
#include <string>

namespace dnamamba::apps {

/// A plain line and BibTeX for the program, then for each paper whose models it runs. CITATION.cff says the same.
std::string citation(const std::string& version);

}  // namespace dnamamba::apps
