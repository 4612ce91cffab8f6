// Standard input of this process fed by a thread through a pipe.
#pragma once
#include <unistd.h>

#include <csignal>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace dnamamba::test {

class PipedStdin {
 public:
  /// False when nobody reads any more.
  using Write = std::function<bool(std::string_view)>;

  /// Runs `feed` in a thread; what it writes is what standard input gives until this object goes away.
  explicit PipedStdin(std::function<void(const Write&)> feed) : saved_(dup(STDIN_FILENO)) {
    std::signal(SIGPIPE, SIG_IGN);
    int ends[2];
    if (pipe(ends) != 0) throw std::runtime_error("no pipe");
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    writer_ = std::thread([feed = std::move(feed), out = ends[1]] {
      feed([out](std::string_view bytes) { return write_all(out, bytes); });
      close(out);
    });
  }
  explicit PipedStdin(std::string bytes) : PipedStdin([text = std::move(bytes)](const Write& write) { write(text); }) {}
  ~PipedStdin() {
    if (saved_ >= 0) {
      dup2(saved_, STDIN_FILENO);
      close(saved_);
    } else {
      close(STDIN_FILENO);
    }
    writer_.join();
  }
  PipedStdin(const PipedStdin&) = delete;
  PipedStdin& operator=(const PipedStdin&) = delete;

 private:
  static bool write_all(int out, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(out, bytes.data(), bytes.size());
      if (count < 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }

  int saved_;
  std::thread writer_;
};

}  // namespace dnamamba::test
