// The subcommands: each is one function in a file of its name, and one line in main.cpp's table.
#pragma once
#include "apps/cli.h"

namespace dnamamba::apps {

// `arguments` are those after the command's name. The result is the exit status; exceptions become one in main.cpp.
int run_embed(const Arguments& arguments);
int run_score(const Arguments& arguments);
int run_generate(const Arguments& arguments);
int run_pack(const Arguments& arguments);
int run_pretrain(const Arguments& arguments);
int run_models(const Arguments& arguments);
int run_info(const Arguments& arguments);
int run_doctor(const Arguments& arguments);

}  // namespace dnamamba::apps
