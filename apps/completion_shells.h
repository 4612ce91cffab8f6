// The parts of a completion script, in the language of each shell.
#pragma once
#include <string>

#include "apps/completion.h"

namespace dnamamba::apps {

std::string bash_head(const CompletedProgram& program);
std::string bash_command(const CompletedCommand& command);
std::string bash_tail();

std::string zsh_head(const CompletedProgram& program);
std::string zsh_command(const CompletedCommand& command);
std::string zsh_tail();

}  // namespace dnamamba::apps
