#include "core/outputs/report_page.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/base/error.h"

namespace dnamamba::outputs {

namespace texts {  // the files of report/, and ECharts
extern const std::string_view kPageHtml, kPageStyle, kPageScript, kEcharts, kEchartsVersion;
}  // namespace texts

namespace {

using nlohmann::json;

// As JSON that is ASCII only: what is not UTF-8 becomes U+FFFD, and no line separator stays as it is.
std::string ascii_json(const json& value) {
  return value.dump(-1, ' ', true, json::error_handler_t::replace);
}

std::string escaped_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// At most kLongestName bytes, cut between characters of UTF-8.
std::string shortened(const std::string& name) {
  if (static_cast<std::int64_t>(name.size()) <= ReportPage::kLongestName) return name;
  std::int64_t size = ReportPage::kLongestName;
  while (size > 0 && (static_cast<unsigned char>(name[size]) & 0xC0) == 0x80) --size;
  return name.substr(0, size) + "\u2026";
}

// The frame up to the mark {{name}}, and past it.
std::string_view take_until(std::string_view& frame, std::string_view name) {
  const std::string mark = base::concat("{{", name, "}}");
  const std::size_t place = frame.find(mark);
  if (place == std::string_view::npos) throw base::Error("the report's frame lacks " + mark);
  const std::string_view part = frame.substr(0, place);
  frame.remove_prefix(place + mark.size());
  return part;
}

}  // namespace

void ThroughputTrace::add(double seconds, std::int64_t done) {
  last_ = {seconds, done};
  points_.add(last_);
}

std::string ThroughputTrace::to_json() const {
  json seconds = json::array(), done = json::array();
  const auto put = [&](const Point& point) {
    seconds.push_back(std::round(1000 * point.seconds) / 1000);
    done.push_back(point.done);
  };
  for (const Point& point : points_.kept())
    if (point.seconds < last_.seconds) put(point);
  if (points_.seen() > 0) put(last_);
  return json{{"seconds", seconds}, {"done", done}}.dump();
}

ReportPage::ReportPage(std::filesystem::path path, bool force) : file_(std::move(path), force) {}

void ReportPage::begin(const ReportRun& run, std::string_view sections) {
  rest_ = texts::kPageHtml;
  const auto put = [&](std::string_view mark, std::string_view text) {
    file_.append(take_until(rest_, mark));
    file_.append(text);
  };
  put("title", escaped_html(run.title));
  put("style", texts::kPageStyle);
  put("title", escaped_html(run.title));
  put("sections", sections);
  put("echarts_version", texts::kEchartsVersion);
  file_.append(take_until(rest_, "data"));
  json settings = json::array();
  for (const auto& [name, value] : run.settings) settings.push_back({name, value});
  add_json("run", ascii_json({{"title", run.title},
                              {"program", run.program},
                              {"command", run.command},
                              {"inputs", run.inputs},
                              {"settings", settings}}));
}

void ReportPage::add_json(std::string_view id, std::string_view json) {
  file_.append(base::concat("<script type=\"application/json\" id=\"", id, "\">"));
  put_text(json);
  file_.append("</script>\n");
}

// Inside of a script element nothing but "</script" and "<!--" has a meaning; neither is there without its first
// letter.
void ReportPage::put_text(std::string_view json) {
  std::string safe;
  for (const char c : json) {
    if (c == '<') {
      safe += "\\u003c";
    } else {
      safe += c;
    }
  }
  file_.append(safe);
}

void ReportPage::add_column(std::string_view id, std::span<const std::uint16_t> values) {
  put_base64(id, "Uint16Array", std::as_bytes(values));
}

void ReportPage::add_column(std::string_view id, std::span<const std::int64_t> values) {
  const auto narrow = [](std::int64_t value) { return value <= std::numeric_limits<std::uint32_t>::max(); };
  if (std::all_of(values.begin(), values.end(), narrow)) {
    const std::vector<std::uint32_t> short_values(values.begin(), values.end());
    put_base64(id, "Uint32Array", std::as_bytes(std::span(short_values)));
  } else {
    const std::vector<double> doubles(values.begin(), values.end());  // exact up to 2⁵³
    put_base64(id, "Float64Array", std::as_bytes(std::span(doubles)));
  }
}

void ReportPage::put_base64(std::string_view id, std::string_view type, std::span<const std::byte> bytes) {
  file_.append(base::concat("<script type=\"application/octet-stream\" id=\"", id, "\" data-array=\"", type, "\">"));
  constexpr std::size_t kPiece = 3 * 16'384;  // bytes: no padding but at the end
  std::vector<unsigned char> text(kPiece / 3 * 4 + 1);
  for (std::size_t at = 0; at < bytes.size(); at += kPiece) {
    const auto piece = bytes.subspan(at, std::min(kPiece, bytes.size() - at));
    const int size = EVP_EncodeBlock(text.data(), reinterpret_cast<const unsigned char*>(piece.data()),
                                     static_cast<int>(piece.size()));
    file_.append(std::as_bytes(std::span(text).first(size)));
  }
  file_.append("</script>\n");
}

void ReportPage::begin_names(std::string_view id) {
  file_.append(base::concat("<script type=\"application/json\" id=\"", id, "\">["));
  names_follow_ = false;
}

void ReportPage::add_name(const std::string& name) {
  if (names_follow_) file_.append(",\n");
  names_follow_ = true;
  put_text(ascii_json(shortened(name)));
}

void ReportPage::end_names() {
  file_.append("]</script>\n");
}

void ReportPage::end(std::string_view script) {
  for (const auto& [mark, text] : {std::pair<std::string_view, std::string_view>{"echarts", texts::kEcharts},
                                   {"page_script", texts::kPageScript},
                                   {"script", script}}) {
    file_.append(take_until(rest_, mark));
    file_.append(text);
  }
  file_.append(rest_);
  file_.sync();
}

}  // namespace dnamamba::outputs
