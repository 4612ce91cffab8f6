// A program that runs beside the test, fed by a pipe, to be stopped or measured.
#pragma once
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace dnamamba::test {

class BackgroundProgram {
 public:
  struct Ending {
    int status = -1;               ///< exit status; 128 + the number of the signal that ended it
    std::int64_t peak_memory = 0;  ///< bytes, the largest resident set
  };

  /// stderr goes to the file `errors`.
  BackgroundProgram(const std::string& program, std::vector<std::string> arguments, const std::string& errors) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    input_ = ends[1];
    arguments.insert(arguments.begin(), program);
    std::vector<char*> words;
    for (std::string& argument : arguments) words.push_back(argument.data());
    words.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int failure = posix_spawn(&process_, program.c_str(), &actions, nullptr, words.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    if (failure != 0) throw std::runtime_error(program + " can't be started");
  }
  ~BackgroundProgram() {
    close_input();
    if (process_ != 0) {
      ::kill(process_, SIGKILL);
      waitpid(process_, nullptr, 0);
    }
  }
  BackgroundProgram(const BackgroundProgram&) = delete;
  BackgroundProgram& operator=(const BackgroundProgram&) = delete;

  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(input_, bytes.data(), bytes.size());
      if (count < 0) throw std::runtime_error("the program does not read");
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
  }
  void close_input() {
    if (input_ >= 0) close(input_);
    input_ = -1;
  }
  void send(int signal) { ::kill(process_, signal); }

  Ending wait() {
    int status = 0;
    rusage usage{};
    if (wait4(process_, &status, 0, &usage) != process_) throw std::runtime_error("wait4 failed");
    process_ = 0;
    return {WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status),
            static_cast<std::int64_t>(usage.ru_maxrss) * 1024};
  }

 private:
  int input_ = -1;
  pid_t process_ = 0;
};

}  // namespace dnamamba::test
