"use strict";
// Fills the page of `dnamamba embed --report`.

page.fill(() => {
  const { find, number, percent, counted, short, escaped, make, colour } = page;
  const summary = page.json("summary");
  const axes = page.json("axes");

  // ---- data

  const kNoFraction = 65535, kOne = 65534;  // as the program wrote them
  const fraction = (value) => value === kNoFraction ? NaN : value / kOne;
  const records = {
    name: page.names("record_names"),
    index: page.column("record_index"),
    length: page.column("record_length"),
    windows: page.column("record_windows"),
    gc: page.column("record_gc"),
    n: page.column("record_n"),
  };
  const windows = {
    record: page.column("window_record"),
    start: page.column("window_start"),
    length: page.column("window_length"),
    gc: page.column("window_gc"),
    n: page.column("window_n"),
    x: page.column("window_x"),
    y: page.column("window_y"),
  };
  const drawn = windows.record.length;
  const title = (record) => records.name[record] === "" ? "(no name)" : records.name[record];

  // ---- what the map's colours show

  // Okabe & Ito's colours, which stay apart for every kind of colour vision; black is left out for the dark page.
  const hues = ["#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#F0E442"];
  const viridis = ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151",
    "#bddf26", "#fde725"];
  const kShades = 24;

  // The ends of the scale that would vanish in the page's ground are left out.
  function shade(i) {
    const t = i / (kShades - 1);
    const place = (page.is_dark() ? 0.18 + 0.82 * t : 0.9 * t) * (viridis.length - 1);
    const low = Math.min(viridis.length - 2, Math.floor(place));
    const part = (k, at) => parseInt(viridis[k].slice(at, at + 2), 16);
    const mixed = [1, 3, 5].map((at) => Math.round(part(low, at) + (place - low) * (part(low + 1, at) - part(low, at))));
    return `rgb(${mixed.join(",")})`;
  }

  const middle = (i) => {
    const length = records.length[windows.record[i]];
    return length > 0 ? (windows.start[i] + windows.length[i] / 2) / length : NaN;
  };
  const scales = {
    gc: { title: "GC", value: (i) => fraction(windows.gc[i]), text: (v) => percent(v),
      says: "The part of a window's known bases that is G or C." },
    n: { title: "N", value: (i) => fraction(windows.n[i]), text: (v) => percent(v), from_zero: true,
      says: "The part of a window that is not known." },
    position: { title: "Position", value: middle, text: (v) => percent(v, 0), whole: true,
      says: "Where in its record a window lies: 0 % is its beginning, 100 % its end." },
    length: { title: "Record length", value: (i) => Math.log10(Math.max(1, records.length[windows.record[i]])),
      text: (v) => short(Math.round(10 ** v), "b"), says: "How long the record is that a window is of; each step is a ratio." },
  };

  // The least and the largest value but for a hundredth at either end, so that a few odd windows do not take the colours.
  function reach(scale) {
    const values = Float64Array.from({ length: drawn }, (_, i) => scale.value(i)).filter((v) => !Number.isNaN(v)).sort();
    if (values.length === 0) return null;
    const at = (part) => values[Math.round(part * (values.length - 1))];
    let [least, most] = scale.whole ? [0, 1] : scale.from_zero ? [0, at(0.99)] : [at(0.01), at(0.99)];
    if (least === most) [least, most] = [values[0], values[values.length - 1]];
    return { least, most, below: values[0] < least, above: values[values.length - 1] > most };
  }

  // The records with the most windows, as many as there are hues.
  const largest = Array.from({ length: records.name.length }, (_, i) => i).filter((i) => records.windows[i] > 0)
    .sort((a, b) => records.windows[b] - records.windows[a] || a - b).slice(0, hues.length);

  const all_windows = Uint32Array.from({ length: drawn }, (_, i) => i);
  // One record, or as many records as windows: then the records' colours would say little.
  let coloured_by = summary.records === 1 || (summary.records > hues.length && summary.windows < 2 * summary.records) ? "gc" : "record";
  let chosen = null;  // a record: the one that is coloured

  // Groups of one colour, the lowest first: [{indices, colour, large}].
  function groups() {
    if (chosen !== null) {
      const rest = all_windows.filter((i) => windows.record[i] !== chosen);
      const own = all_windows.filter((i) => windows.record[i] === chosen);
      return [{ indices: rest, colour: colour("faint") },
        { indices: own, colour: page.is_dark() ? "#F0A030" : "#D55E00", large: true }];
    }
    if (coloured_by === "record") {
      const rank = new Map(largest.map((record, i) => [record, i]));
      const found = [{ indices: [], colour: colour("faint") }, ...hues.map((hue) => ({ indices: [], colour: hue }))];
      for (let i = 0; i < drawn; ++i) found[1 + (rank.get(windows.record[i]) ?? -1)].indices.push(i);
      return found;
    }
    const scale = scales[coloured_by];
    const range = reach(scale);
    const found = Array.from({ length: 1 + kShades }, (_, i) => ({ indices: [], colour: i === 0 ? colour("faint") : shade(i - 1) }));
    for (let i = 0; i < drawn; ++i) {
      const value = scale.value(i);
      const t = Number.isNaN(value) ? NaN : range.most > range.least ? (value - range.least) / (range.most - range.least) : 0;
      found[Number.isNaN(t) ? 0 : 1 + Math.round(Math.min(1, Math.max(0, t)) * (kShades - 1))].indices.push(i);
    }
    return found;
  }

  // ---- the map

  const place = (steps, [least, most]) => least + (most - least) * steps / kOne;
  const size = drawn <= 60 ? 12 : drawn <= 600 ? 8 : drawn <= 3000 ? 5.5 : drawn <= 20000 ? 3.6 : 2.6;
  const opacity = drawn <= 600 ? 0.9 : drawn <= 20000 ? 0.75 : 0.6;
  let shown = [];  // the groups that are on the map, as series

  const end = (i) => windows.start[i] + windows.length[i];
  function window_text(i) {
    const record = windows.record[i];
    return `<b>${escaped(title(record))}</b>:${number(windows.start[i])}-${number(end(i))}<br>` +
      `GC ${percent(fraction(windows.gc[i]))} · N ${percent(fraction(windows.n[i]))}<br>` +
      `<span style="color:${colour("muted")}">record of ${counted(records.length[record], "base")}</span>`;
  }

  const padded = ([least, most]) => {
    const margin = most > least ? 0.04 * (most - least) : 1;
    return { min: least - margin, max: most + margin };
  };
  const map_axis = (name, share, range, more) => page.axis({
    type: "value", scale: true, name: `${name} component${share > 0 ? ` (${percent(share)} of the variance)` : ""}`,
    nameLocation: "middle", ...padded(range),
    axisLabel: { color: colour("muted"), hideOverlap: true, showMinLabel: false, showMaxLabel: false,
      formatter: (value) => Number(value.toPrecision(3)).toString() }, ...more,
  });

  let zoom = [{ start: 0, end: 100 }, { start: 0, end: 100 }];  // of each axis, in percent
  function map_option() {
    shown = groups().filter(({ indices }) => indices.length > 0);
    return {
      ...page.base_option(),
      grid: { left: 34, right: 16, top: 12, bottom: 34, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      tooltip: page.tooltip({ trigger: "item", formatter: ({ seriesIndex, dataIndex }) => window_text(shown[seriesIndex].indices[dataIndex]) }),
      xAxis: map_axis("first", summary.shares[0], axes.x, { nameGap: 30 }),
      yAxis: map_axis("second", summary.shares[1], axes.y, { nameGap: 44 }),
      dataZoom: zoom.map(({ start, end: stop }, i) => ({ type: "inside", [i === 0 ? "xAxisIndex" : "yAxisIndex"]: 0, filterMode: "none",
        zoomOnMouseWheel: "ctrl", moveOnMouseMove: true, moveOnMouseWheel: false, minSpan: 1, start, end: stop, throttle: 30 })),
      series: shown.map(({ indices, colour: own, large }) => {
        const data = new Float32Array(2 * indices.length);
        indices.forEach((window, i) => {
          data[2 * i] = place(windows.x[window], axes.x);
          data[2 * i + 1] = place(windows.y[window], axes.y);
        });
        return { type: "scatter", dimensions: ["x", "y"], data, symbolSize: large ? Math.max(size, 5) : size, itemStyle: { color: own, opacity },
          large: drawn > 3000, largeThreshold: 0, progressive: 0, emphasis: { scale: 1.4, itemStyle: { opacity: 1 } } };
      }),
    };
  }

  function legend_of_records() {
    const line = (record, i) => make("li", {}, make("button", { type: "button", title: title(record), click: () => choose(record),
      "aria-pressed": String(record === chosen) },
      make("span", { class: "swatch", style: `background:${hues[i]}` }), make("span", { class: "name" }, title(record)),
      make("span", { class: "count" }, number(records.windows[record]))));
    const list = make("ul", {}, ...largest.map(line));
    const others = summary.records - largest.length;
    const left = summary.windows - largest.reduce((sum, record) => sum + records.windows[record], 0);
    if (left > 0) {
      list.append(make("li", { class: "rest" }, make("span", { class: "swatch", style: "background:var(--faint)" }),
        make("span", { class: "name" }, counted(others, "other")), make("span", { class: "count" }, number(left))));
    }
    return [make("h3", {}, left > 0 ? "Records with the most windows" : "Records and their windows"), list];
  }

  function legend_of_scale(scale) {
    const range = reach(scale);
    const says = make("p", { class: "note" }, scale.says);
    if (range === null || range.most === range.least)
      return [make("h3", {}, scale.title), says, make("p", { class: "note" }, `All windows on the map are the same.`)];
    const steps = Array.from({ length: kShades }, (_, i) => shade(i)).join(",");
    return [make("h3", {}, scale.title), make("div", { class: "ramp", style: `background:linear-gradient(to right,${steps})` }),
      make("div", { class: "ends" }, make("span", {}, (range.below ? "≤ " : "") + scale.text(range.least)),
        make("span", {}, (range.above ? "≥ " : "") + scale.text(range.most))), says];
  }

  function draw_legend() {
    const parts = chosen !== null
      ? [make("h3", {}, "One record"), make("p", { style: "overflow-wrap:anywhere" }, title(chosen)),
        make("p", { class: "note" }, `${counted(records.windows[chosen], "window")}; all others are grey.`),
        make("button", { type: "button", click: () => choose(null) }, "Show all again")]
      : coloured_by === "record" ? legend_of_records() : legend_of_scale(scales[coloured_by]);
    find("legend").replaceChildren(...parts);
  }

  let map = null, table = null;
  function draw_map() {
    draw_legend();
    for (const button of find("colours").querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(chosen === null && button.dataset.by === coloured_by));
    map?.draw();
  }
  function choose(record) {
    chosen = record === chosen ? null : record;
    draw_map();
    table?.draw();
  }
  for (const [by, label] of [["record", "Record"], ...Object.entries(scales).map(([key, scale]) => [key, scale.title])])
    find("colours").append(make("button", { type: "button", "data-by": by, click: () => {
      coloured_by = by;
      choose(null);
    } }, label));

  function zoom_by(factor) {
    zoom = zoom.map(({ start, end: stop }) => {
      const half = Math.min(50, Math.max(0.5, factor * (stop - start) / 2));
      const centre = Math.min(100 - half, Math.max(half, (start + stop) / 2));
      return { start: centre - half, end: centre + half };
    });
    map.chart.dispatchAction({ type: "dataZoom", batch: zoom.map((range, dataZoomIndex) => ({ dataZoomIndex, ...range })) });
  }

  function map_sentence() {
    const parts = ["Each dot is a window of a record. Dots that lie close together have vectors that are alike: the model read them in a " +
      "similar way. The axes are the two directions along which the vectors differ most (principal components)."];
    if (summary.windows_drawn === 1) parts.push("There is one window only, so there is nothing to compare it with.");
    if (summary.step > 1)
      parts.push(`Drawn are ${number(summary.windows_drawn)} windows, one in ${number(summary.step)}, evenly over the input.`);
    const left_out = summary.windows_without_vector;
    if (left_out > 0) parts.push(`${counted(left_out, "window")} of N only ${left_out === 1 ? "has no vector and is" : "have no vector and are"} not on it.`);
    parts.push("Positions count from 0; the end is exclusive.");
    return parts.join(" ");
  }

  function show_map() {
    if (drawn === 0) {
      find("map-says").textContent = summary.windows === 0 ? "There are no windows: all records are empty."
        : "No window has a base that is known, so none has a vector, and there is no map.";
      for (const part of [find("colours").parentElement, find("map-chart").closest(".map")]) part.hidden = true;
      return;
    }
    find("map-says").textContent = map_sentence();
    draw_map();
    map = page.chart("map-chart", map_option);
    map.chart.on("datazoom", () => {
      zoom = map.chart.getOption().dataZoom.map(({ start, end: stop }) => ({ start, end: stop }));
    });
    const redraw = map.draw;
    map.draw = () => {
      redraw();
      draw_legend();
    };
    find("zoom-in").addEventListener("click", () => zoom_by(0.6));
    find("zoom-out").addEventListener("click", () => zoom_by(1 / 0.6));
    find("zoom-reset").addEventListener("click", () => zoom_by(1000));
  }

  // ---- distributions

  // Bars for the hundredths in which there is anything, joined while they are many.
  function bars_of_fractions(counts) {
    let first = counts.findIndex((count) => count > 0);
    let last = counts.length - 1 - [...counts].reverse().findIndex((count) => count > 0);
    const joined = last - first >= 40 ? 2 : 1;
    first = Math.max(0, Math.floor((first - 2) / joined) * joined);
    last = Math.min(counts.length - 1, last + 2);
    const bars = [];
    for (let at = first; at <= last; at += joined)
      bars.push({ label: `${at} %`, range: `${at} to ${at + joined} %`, count: counts.slice(at, at + joined).reduce((a, b) => a + b, 0) });
    return bars;
  }

  function show_lengths() {
    const { equal_ratio, edges, counts, zeros } = summary.lengths;
    const empty = zeros === 0 ? "" : ` ${counted(zeros, "record")} of length 0 ${zeros === 1 ? "is" : "are"} not in the chart.`;
    if (counts.length === 0) {
      find("lengths-says").textContent = "All records are empty.";
      return page.no_chart("lengths-chart", "no chart");
    }
    find("lengths-says").textContent = `How many records are how long, in bases.${equal_ratio ? " Each bar reaches to 1.33 times the length of the one before." : ""}${empty}`;
    const alike = new Set(edges.map((edge) => short(edge))).size < edges.length;  // lengths too close for three digits
    page.histogram("lengths-chart", counts.map((count, i) => ({ label: alike ? number(edges[i]) : short(edges[i]), count,
      range: edges[i + 1] - edges[i] === 1 ? counted(edges[i], "base") : `${number(edges[i])} to ${number(edges[i + 1] - 1)} bases` })), "bases", "record");
  }

  function show_gc() {
    if (summary.known === 0 || summary.windows === 0) {
      find("gc-says").textContent = "No window has a base that is known.";
      return page.no_chart("gc-chart", "no chart");
    }
    find("gc-says").textContent = "How many windows have how much G and C among their known bases. Several peaks often mean several organisms.";
    page.histogram("gc-chart", bars_of_fractions(summary.gc_counts), "GC", "window");
  }

  function show_n() {
    const having = summary.windows_with_n;
    if (having === 0) {
      find("n-says").textContent = "No window holds N or any other letter that stands for an unknown base.";
      return page.no_chart("n-chart", "no N");
    }
    find("n-says").textContent = `${number(having)} of ${counted(summary.windows, "window")} ${having === 1 ? "holds" : "hold"} N or other letters for unknown bases. ` +
      "The chart shows these windows alone: how many are unknown to which part.";
    page.histogram("n-chart", bars_of_fractions(summary.n_counts), "N", "window");
  }

  // ---- records

  function show_records() {
    const by = (values) => (a, b) => values[a] - values[b];
    const share = (values) => (a, b) => (values[a] === kNoFraction ? -1 : values[a]) - (values[b] === kNoFraction ? -1 : values[b]);
    const texts = new Intl.Collator("en", { numeric: true });
    const name_cell = (record) => drawn === 0 || records.windows[record] === 0 ? title(record)
      : make("button", { type: "button", title: "Show on the map", click: () => {
        choose(record);
        if (chosen !== null) find("map-heading").scrollIntoView({ behavior: "smooth" });
      } }, title(record));
    find("records-says").textContent = (summary.records_listed === summary.records
      ? `All ${counted(summary.records, "record")}, in the order of the input.`.replace("All 1 record, in the order of the input", "The one record")
      : `The ${counted(summary.records_listed, "record")} with a window on the map, of ${number(summary.records)}.`) +
      (summary.records > 1 ? ` Click a heading to sort${drawn > 0 ? ", a name to see its windows on the map" : ""}.` : "") +
      (records.name.some((name) => name.endsWith("…")) ? " Long names are cut." : "");
    table = page.table({
      id: "records", rows: records.name.length, name: (record) => records.name[record], chosen: (record) => record === chosen,
      columns: [
        { title: "Name", order: (a, b) => texts.compare(records.name[a], records.name[b]), cell: name_cell, first: 1 },
        { title: "Bases", order: by(records.length), cell: (record) => number(records.length[record]), first: -1 },
        { title: "Windows", order: by(records.windows), cell: (record) => number(records.windows[record]), first: -1 },
        { title: "GC", order: share(records.gc), cell: (record) => percent(fraction(records.gc[record])), first: -1 },
        { title: "N", order: share(records.n), cell: (record) => percent(fraction(records.n[record])), first: -1 },
      ],
    });
  }

  show_map();
  show_lengths();
  show_gc();
  show_n();
  show_records();
  const speed = page.describe_run("base");
  const part = (count, of) => of === 0 ? "–" : percent(count / of);
  for (const [name, value] of [["Records", number(summary.records)], ["Bases", number(summary.bases)], ["Windows", number(summary.windows)],
    ["GC", part(summary.gc, summary.known)], ["N", part(summary.bases - summary.known, summary.bases)],
    ["Speed", speed > 0 ? short(speed, "b/s") : "–"]])
    find("figures").append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
});
