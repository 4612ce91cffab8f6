#include "apps/citation.h"

#include "core/base/error.h"

namespace dnamamba::apps {

std::string citation(const std::string& version) {
  return base::concat("Please cite the program,\n\n  The dnamamba authors (2026). dnamamba ", version,
                      R"(: very long DNA through state-carrying
  sequence models. Computer software.

and the paper of the models that it runs,

  Gu A, Dao T (2023). Mamba: linear-time sequence modeling with selective state
  spaces. arXiv:2312.00752.

As BibTeX:

@software{dnamamba,
  author  = {{The dnamamba authors}},
  title   = {dnamamba: very long {DNA} through state-carrying sequence models},
  version = {)",
                      version, R"(},
  year    = {2026}
}

@misc{gu2023mamba,
  author        = {Gu, Albert and Dao, Tri},
  title         = {Mamba: Linear-Time Sequence Modeling with Selective State Spaces},
  year          = {2023},
  eprint        = {2312.00752},
  archivePrefix = {arXiv},
  primaryClass  = {cs.LG},
  doi           = {10.48550/arXiv.2312.00752}
}
)");
}

}  // namespace dnamamba::apps
