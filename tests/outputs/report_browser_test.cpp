// Pages of `--report` in a browser: nothing goes wrong, charts are drawn, in both themes. The pages stay in PAGES, to
// be looked at.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/outputs/training_report.h"
#include "tests/outputs/sampled_report.h"
#include "tests/support/run_program.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// What a browser made of a page, as the script below saw it.
struct Seen {
  nlohmann::json page;
  std::string console;  ///< every line of it
};

// Counts the pixels of a chart that are drawn on, points at a dot, and tells what is there before and after a click on
// the button that changes the theme.
constexpr const char* kLook = R"(
<script>
window.addEventListener("load", () => setTimeout(() => {
  const ink = (id) => [...document.querySelectorAll(`#${id} canvas`)].reduce((sum, canvas) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 3; i < data.length; i += 4) sum += data[i] > 0;
    return sum;
  }, 0);
  const flush = () => {
    for (const chart of document.querySelectorAll(".chart")) echarts.getInstanceByDom(chart)?.getZr().flush();
  };
  const look = () => {
    flush();
    return { theme: document.documentElement.dataset.theme, ground: getComputedStyle(document.body).backgroundColor,
      ink: Object.fromEntries([...document.querySelectorAll(".chart")].map(({ id }) => [id, ink(id)])) };
  };
  const seen = { state: document.documentElement.dataset.state, before: look() };
  document.getElementById("theme").click();
  seen.after = look();
  const element = document.getElementById("map-chart");
  const map = element && echarts.getInstanceByDom(element);
  if (map) {
    const [zrX, zrY] = map.convertToPixel({ seriesIndex: 0 }, Array.from(map.getOption().series[0].data.slice(0, 2)));
    map.getZr().handler.dispatch("mousemove", { zrX, zrY });
    seen.tip = document.getElementById("map-chart").innerText;
    document.getElementById("zoom-in").click();
    flush();
    seen.zoom = map.getOption().dataZoom.map(({ start, end }) => end - start);
    seen.by = [...document.querySelectorAll("#colours button")].map((button) => {
      button.click();
      flush();
      return document.getElementById("legend").innerText;
    });
  }
  seen.hit = window.hit ?? 0;
  seen.text = document.querySelector("main").innerText;
  seen.wide = document.documentElement.scrollWidth > innerWidth;
  document.body.innerHTML = `<pre id="seen">${btoa(unescape(encodeURIComponent(JSON.stringify(seen))))}</pre>`;
}, 300));
</script>
)";

std::string chromium() {
  for (const char* path : {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"})
    if (std::filesystem::exists(path)) return path;
  return "";
}

std::string from_base64(const std::string& text) {
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    static const std::string kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string::npos) continue;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count >= 8) bytes += static_cast<char>(bits >> (count -= 8) & 0xFF);
  }
  return bytes;
}

class ReportInBrowser : public ::testing::Test {
 protected:
  void SetUp() override {
    if (chromium().empty()) GTEST_SKIP() << "no chromium here";
    std::filesystem::create_directories(PAGES);
  }

  static std::string page_of(const std::string& name) { return std::string(PAGES) + "/" + name + ".html"; }

  Seen open(const std::string& name, const SampledReport& sampled, bool dark = false, int width = 1280) const {
    write_report(page_of(name), sampled);
    return look_at(name, dark, width);
  }

  Seen look_at(const std::string& name, bool dark = false, int width = 1280) const {
    const std::string page = page_of(name), probe = folder_.file("probe.html");
    std::ofstream(probe) << content_of(page) << kLook;
    const ProgramResult result =
        run_program(chromium(), {"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                                 "--user-data-dir=" + folder_.file("profile-" + name), "--enable-logging=stderr",
                                 "--window-size=" + std::to_string(width) + ",1400", "--virtual-time-budget=20000",
                                 std::string("--blink-settings=preferredColorScheme=") + (dark ? "0" : "1"),
                                 "--dump-dom", "file://" + probe});
    Seen seen;
    std::istringstream lines(result.err);
    for (std::string line; std::getline(lines, line);)
      if (line.find(":CONSOLE") != std::string::npos) seen.console += line + "\n";
    const std::string mark = "<pre id=\"seen\">";
    const std::size_t place = result.out.find(mark);
    EXPECT_NE(place, std::string::npos) << result.err;
    if (place == std::string::npos) return seen;
    const std::size_t begin = place + mark.size();
    seen.page = nlohmann::json::parse(from_base64(result.out.substr(begin, result.out.find('<', begin) - begin)));
    return seen;
  }

  static void expect_drawn(const Seen& seen, const std::vector<std::string>& charts) {
    EXPECT_EQ(seen.console, "");
    EXPECT_EQ(seen.page["state"], "drawn");
    EXPECT_EQ(seen.page["hit"], 0);
    EXPECT_EQ(seen.page["wide"], false) << "it has to be scrolled sideways";
    EXPECT_THAT(seen.page["text"].get<std::string>(), Not(HasSubstr("NaN")));
    EXPECT_THAT(seen.page["text"].get<std::string>(), Not(HasSubstr("undefined")));
    for (const std::string& chart : charts)
      for (const char* when : {"before", "after"})
        EXPECT_GT(seen.page[when]["ink"][chart], 500) << chart << " " << when;
  }

  const TempDir folder_;
};

const std::vector<std::string> kCharts{"map-chart", "lengths-chart", "gc-chart", "n-chart", "throughput-chart"};

TEST_F(ReportInBrowser, DrawsAFewWindowsInBothThemes) {
  const Seen light = open("few", {.records = 2, .windows = 5});
  expect_drawn(light, kCharts);
  EXPECT_EQ(light.page["before"]["theme"], "light");
  EXPECT_EQ(light.page["after"]["theme"], "dark");
  EXPECT_NE(light.page["before"]["ground"], light.page["after"]["ground"]);
  EXPECT_THAT(light.page["text"].get<std::string>(), AllOf(HasSubstr("10,000"), HasSubstr("250 b/s")));
  EXPECT_LT(light.page["zoom"][0], 100);
  EXPECT_LT(light.page["zoom"][1], 100);
  const Seen dark = open("few", {.records = 2, .windows = 5}, /*dark=*/true);
  expect_drawn(dark, kCharts);
  EXPECT_EQ(dark.page["before"]["theme"], "dark");
  EXPECT_EQ(dark.page["before"]["ground"], light.page["after"]["ground"]);
}

TEST_F(ReportInBrowser, DrawsAHundredThousandWindows) {
  const Seen seen = open("many", {.records = 50, .windows = 2000});
  expect_drawn(seen, kCharts);
  EXPECT_GT(seen.page["before"]["ink"]["map-chart"], 30'000);
  EXPECT_THAT(seen.page["tip"].get<std::string>(), HasSubstr("contig_"));
  EXPECT_EQ(seen.page["by"].size(), 5U);
  EXPECT_THAT(seen.page["by"][0].get<std::string>(), AllOf(HasSubstr("43 others"), HasSubstr("86,000")));
}

TEST_F(ReportInBrowser, DrawsThousandsOfReadsOnANarrowPage) {
  const Seen seen = open("reads", {.records = 20'000, .windows = 1, .length = 150}, /*dark=*/false, /*width=*/800);
  expect_drawn(seen, kCharts);
  EXPECT_THAT(seen.page["text"].get<std::string>(), HasSubstr("1 to 15 of 20,000"));
}

TEST_F(ReportInBrowser, DrawsWhatThereIsOfAlmostNothing) {
  const Seen one = open("one", {.records = 1, .windows = 1, .with_n = false, .seconds = 0.2});
  expect_drawn(one, {"map-chart", "lengths-chart", "gc-chart"});
  EXPECT_THAT(one.page["text"].get<std::string>(), AllOf(HasSubstr("one window only"), HasSubstr("No window holds N")));
  const Seen none = open("none", {.records = 2, .windows = 0, .seconds = 0});
  expect_drawn(none, {});
  EXPECT_THAT(none.page["text"].get<std::string>(), HasSubstr("There are no windows"));
}

TEST_F(ReportInBrowser, ShowsNamesAsTheyAreAndRunsNone) {
  const std::vector<std::string> names{"</script><script>window.hit = 1</script>",
                                       "<img src=x onerror='window.hit = 1'>", "line\u2028and\u2029end",
                                       std::string(10'000, 'L'), "a\"b' <b>bold</b> &amp;"};
  const Seen seen = open("names", {.records = 5, .windows = 3, .names = names}, /*dark=*/false, /*width=*/800);
  expect_drawn(seen, kCharts);
  const auto text = seen.page["text"].get<std::string>();
  EXPECT_THAT(text, AllOf(HasSubstr(names[0]), HasSubstr(names[1]), HasSubstr("a\"b' <b>bold</b> &amp;"),
                          HasSubstr("Long names are cut")));
  EXPECT_THAT(seen.page["tip"].get<std::string>(), HasSubstr(names[0]));
}

// A run of so many steps with two held-out files, one of which has an odd name.
outputs::TrainingHistory history_of(std::int64_t steps, bool validated) {
  outputs::TrainingHistory history;
  for (std::int64_t step = 1; step <= steps; ++step) {
    const double part = static_cast<double>(step) / static_cast<double>(steps);
    history.add({step, 16'384, 1.9 + 1.5 * std::exp(-9 * part), 4e-3 * (1 - part), 0.2 + 3 * std::exp(-20 * part), 0.05,
                 step % 50 == 49});
    if (!validated || (step % (steps / 4) != 0 && step != steps)) continue;
    for (const char* file : {"folder/held_out.fa", "<img src=x onerror='window.hit = 1'>"}) {
      outputs::TrainingValidation validation{step, file, 1.95 + std::exp(-9 * part), {}};
      for (int i = 0; i < 18; ++i) validation.by_context.push_back({1LL << i, 1LL << i, 1.9 + 0.2 / (i + 1)});
      history.add(validation);
    }
  }
  return history;
}

const outputs::ReportRun kTraining{.title = "Training of m",
                                   .program = "dnamamba",
                                   .command = "dnamamba pretrain",
                                   .inputs = {"x.fa"},
                                   .settings = {}};

TEST_F(ReportInBrowser, DrawsATrainingInBothThemes) {
  outputs::write_training_report(page_of("training"), true, kTraining, {3000, 4000, 0.31}, history_of(3000, true));
  for (const bool dark : {false, true}) {
    const Seen seen = look_at("training", dark, dark ? 800 : 1280);
    expect_drawn(seen, {"loss-chart", "context-chart", "rate-chart", "norm-chart", "throughput-chart"});
    EXPECT_THAT(seen.page["text"].get<std::string>(),
                AllOf(HasSubstr("3,000 of 4,000"), HasSubstr("31.0 %"), HasSubstr("Steps skipped")));
  }
}

TEST_F(ReportInBrowser, DrawsWhatThereIsOfAShortTraining) {
  for (const std::int64_t steps : {0, 2}) {
    outputs::write_training_report(page_of("short-training"), true, kTraining, {steps, 10, 0},
                                   history_of(steps, false));
    const Seen seen = look_at("short-training");
    expect_drawn(seen, {});
    EXPECT_THAT(seen.page["text"].get<std::string>(), HasSubstr("needs --validation"));
  }
}

}  // namespace
}  // namespace dnamamba::test
