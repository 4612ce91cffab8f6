"use strict";
// What every report shares: its data, numbers for people, themes, charts, a table, the run.

const page = (() => {
  const find = (id) => document.getElementById(id);

  // ---- data

  const json = (id) => JSON.parse(find(id).textContent);
  const names = json;
  const arrays = { Uint16Array, Uint32Array, Float64Array };

  // Numbers are little-endian, as every machine that browsers run on has them.
  function column(id) {
    const element = find(id);
    const text = atob(element.textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; ++i) bytes[i] = text.charCodeAt(i);
    return new arrays[element.dataset.array](bytes.buffer);
  }

  // ---- numbers and words

  const number = (value) => value.toLocaleString("en-US");
  // "41.2 %"; what is not quite nothing or all does not look like it.
  function percent(fraction, digits = 1) {
    if (Number.isNaN(fraction)) return "–";
    if (fraction === 0 || fraction === 1) return `${100 * fraction} %`;
    const least = 0.1 ** digits / 2;
    if (100 * fraction < least) return `< ${(2 * least).toFixed(digits)} %`;
    if (100 * (1 - fraction) < least) return `> ${(100 - 2 * least).toFixed(digits)} %`;
    return `${(100 * fraction).toFixed(digits)} %`;
  }
  const counted = (count, thing) => `${number(count)} ${thing}${count === 1 ? "" : "s"}`;

  // "999 b", "12.3 kb", "4.56 Mb"; without a unit "999", "12.3 k".
  function short(value, unit = "") {
    const prefixes = ["", "k", "M", "G", "T"];
    let power = 0;
    while (power < 4 && value >= 999.5) {
      value /= 1000;
      ++power;
    }
    return `${power === 0 && Number.isInteger(value) ? value : Number(value.toPrecision(3))} ${prefixes[power]}${unit}`.trim();
  }

  function duration(seconds) {
    if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
    const whole = Math.round(seconds);
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
  }

  const escaped = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

  // An element with attributes and children; text stays text.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "click") element.addEventListener("click", value);
      else if (name === "style") element.style.cssText = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  // ---- themes and charts

  const drawn = [];  // {chart, option}
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const is_dark = () => document.documentElement.dataset.theme === "dark";

  // `option()` is asked again whenever the theme changes.
  function chart(id, option) {
    const element = find(id);
    const one = { chart: echarts.init(element), option };
    one.draw = () => one.chart.setOption(option(), { notMerge: true });
    one.draw();
    drawn.push(one);
    new ResizeObserver(() => one.chart.resize()).observe(element);
    return one;
  }

  // A word in the place of a chart that would show nothing.
  function no_chart(id, word) {
    find(id).className = "chart nothing";
    find(id).textContent = word;
  }

  const axis = (more) => ({
    axisLine: { lineStyle: { color: colour("line") } },
    axisTick: { lineStyle: { color: colour("line") } },
    axisLabel: { color: colour("muted"), hideOverlap: true },
    splitLine: { lineStyle: { color: colour("grid") } },
    nameTextStyle: { color: colour("muted") },
    ...more,
  });

  const tooltip = (more) => ({
    backgroundColor: colour("card"),
    borderColor: colour("line"),
    textStyle: { color: colour("text"), fontSize: 13 },
    confine: true,
    transitionDuration: 0,
    extraCssText: "max-width: 380px; white-space: normal; overflow-wrap: anywhere;",
    ...more,
  });

  const base_option = () => ({
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { left: 8, right: 16, top: 26, bottom: 30, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
  });

  // Bars side by side: `bars` is [{label, range, count}].
  function histogram(id, bars, across, thing) {
    const all = bars.reduce((sum, bar) => sum + bar.count, 0);
    chart(id, () => ({
      ...base_option(),
      tooltip: tooltip({
        trigger: "axis",
        axisPointer: { type: "shadow", shadowStyle: { color: colour("grid"), opacity: 0.6 } },
        formatter: ([{ dataIndex }]) => {
          const bar = bars[dataIndex];
          return `${escaped(bar.range)}<br><b>${counted(bar.count, thing)}</b>, ${percent(bar.count / all)}`;
        },
      }),
      xAxis: axis({
        type: "category", data: bars.map((bar) => bar.label), name: across, nameLocation: "middle", nameGap: 28,
        splitLine: { show: false }, axisTick: { show: false },
      }),
      yAxis: axis({
        type: "value", name: `${thing}s`, nameTextStyle: { color: colour("muted"), align: "left", padding: [0, 0, 0, -4] },
        minInterval: 1, splitNumber: 4, axisLabel: { color: colour("muted"), formatter: (value) => short(value) }, axisLine: { show: false },
      }),
      series: [{ type: "bar", data: bars.map((bar) => bar.count), barCategoryGap: bars.length > 12 ? "8%" : "20%",
        barMaxWidth: 56, itemStyle: { color: colour("accent"), borderRadius: [2, 2, 0, 0] } }],
    }));
  }

  function follow_theme() {
    const button = find("theme");
    const name = () => { button.textContent = is_dark() ? "Light page" : "Dark page"; };
    const set = (theme) => {
      document.documentElement.dataset.theme = theme;
      name();
      for (const one of drawn) one.draw();
    };
    name();
    let chosen = false;
    button.addEventListener("click", () => {
      chosen = true;
      set(is_dark() ? "light" : "dark");
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
      if (!chosen) set(event.matches ? "dark" : "light");
    });
  }

  // ---- a table of many rows, a page of them at a time

  // `columns`: [{title, order(a, b), cell(row), first}]; `first` is how it is sorted at the first click, 1 or -1.
  // `draw()` draws the rows again.
  function table({ id, rows, columns, name, chosen }) {
    const size = 15;
    const [head, body] = [find(id).tHead, find(id).tBodies[0]];
    const search = find(`${id}-search`), back = find(`${id}-back`), next = find(`${id}-next`), place = find(`${id}-place`);
    let order = Uint32Array.from({ length: rows }, (_, i) => i);
    let found = order;
    let sorted_by = -1, direction = 1, from = 0;

    function draw() {
      const last = Math.min(found.length, from + size);
      body.replaceChildren(...Array.from(found.subarray(from, last), (row) =>
        make("tr", { class: chosen(row) ? "chosen" : "" }, ...columns.map(({ cell }) => make("td", {}, cell(row))))));
      if (found.length === 0) body.append(make("tr", {}, make("td", { colspan: columns.length }, "No such name.")));
      place.textContent = found.length === 0 ? "" : `${number(from + 1)} to ${number(last)} of ${number(found.length)}`;
      back.disabled = from === 0;
      next.disabled = last === found.length;
    }
    function filter() {
      const text = search.value.trim().toLowerCase();
      found = text === "" ? order : order.filter((row) => name(row).toLowerCase().includes(text));
      from = 0;
      draw();
    }
    function sort(index) {
      direction = sorted_by === index ? -direction : columns[index].first;
      sorted_by = index;
      order = order.slice().sort((a, b) => direction * columns[index].order(a, b) || a - b);
      [...head.rows[0].cells].forEach((cell, i) => {
        cell.setAttribute("aria-sort", i !== index ? "none" : direction > 0 ? "ascending" : "descending");
      });
      filter();
    }
    head.replaceChildren(make("tr", {}, ...columns.map(({ title }, index) =>
      make("th", { scope: "col", "aria-sort": "none" }, make("button", { type: "button", click: () => sort(index) }, title)))));
    search.addEventListener("input", filter);
    back.addEventListener("click", () => { from = Math.max(0, from - size); draw(); });
    next.addEventListener("click", () => { from += size; draw(); });
    if (rows <= size) find(`${id}-bar`).hidden = true;
    draw();
    return { draw };
  }

  // ---- the run

  // Speed in equal parts of the run, from counts that were noted at any times.
  function speeds({ seconds, done }, parts) {
    const end = seconds[seconds.length - 1];
    const at = (time) => {
      let i = seconds.findIndex((second) => second >= time);
      if (i < 0) i = seconds.length - 1;
      const [t0, d0] = i === 0 ? [0, 0] : [seconds[i - 1], done[i - 1]];
      return seconds[i] === t0 ? done[i] : d0 + (done[i] - d0) * (time - t0) / (seconds[i] - t0);
    };
    return Array.from({ length: parts }, (_, i) => {
      const [from, to] = [end * i / parts, end * (i + 1) / parts];
      return { from, to, speed: (at(to) - at(from)) / (to - from) };
    });
  }

  function describe_run(thing) {
    const run = json("run");
    find("made").textContent = [run.program, ...run.settings.filter(([name]) => name === "Made").map(([, value]) => value)].join(" · ");
    find("command").textContent = run.command;
    for (const [name, value] of [["Input", run.inputs.join(", ")], ...run.settings, ["Program", run.program]])
      find("settings").append(make("dt", {}, name), make("dd", {}, value));

    const trace = json("throughput");
    const all = trace.done.at(-1) ?? 0, seconds = trace.seconds.at(-1) ?? 0;
    const mean = seconds > 0 ? all / seconds : 0;
    const says = find("throughput-says");
    if (trace.done.length < 4 || seconds < 1) {
      says.textContent = `${counted(all, thing)} in ${duration(seconds)}` +
        (mean > 0 ? `, ${short(mean)} ${thing}s a second; too short a run for a chart of its speed.` : ".");
      no_chart("throughput-chart", "no chart");
      return mean;
    }
    says.textContent = `How many ${thing}s were read each second, from the beginning of the run to its end: ` +
      `${counted(all, thing)} in ${duration(seconds)}, ${short(mean)} a second.`;
    const parts = speeds(trace, Math.min(60, trace.done.length - 1));
    chart("throughput-chart", () => ({
      ...base_option(),
      tooltip: tooltip({
        trigger: "axis",
        formatter: ([{ dataIndex }]) => {
          const part = parts[Math.min(dataIndex, parts.length - 1)];
          return `${duration(part.from)} to ${duration(part.to)}<br><b>${short(part.speed)} ${thing}s</b> a second`;
        },
      }),
      xAxis: axis({ type: "value", min: 0, max: seconds, name: "time", nameLocation: "middle", nameGap: 28, splitLine: { show: false },
        axisLabel: { color: colour("muted"), hideOverlap: true, showMaxLabel: false, formatter: (value) => seconds < 120 ? `${value} s` : seconds < 7200 ? `${Number((value / 60).toFixed(1))} min` : `${Number((value / 3600).toFixed(1))} h` } }),
      yAxis: axis({ type: "value", name: `${thing}s a second`, nameTextStyle: { color: colour("muted"), align: "left", padding: [0, 0, 0, -4] },
        splitNumber: 4, min: 0, axisLabel: { color: colour("muted"), formatter: (value) => short(value) }, axisLine: { show: false } }),
      series: [{ type: "line", step: "end", showSymbol: false, lineStyle: { color: colour("accent"), width: 2 },
        itemStyle: { color: colour("accent") }, areaStyle: { color: colour("accent"), opacity: 0.12 },
        data: [[0, parts[0].speed], ...parts.map(({ to, speed }) => [to, speed])] }],
    }));
    return mean;
  }

  // Runs `draw`, and says on the page what went wrong if it did.
  function fill(draw) {
    try {
      draw();
      follow_theme();
      document.documentElement.dataset.state = "drawn";
    } catch (error) {
      document.documentElement.dataset.state = "failed";
      find("failure").textContent = `This page could not be drawn: ${error.message}`;
      find("failure").hidden = false;
      throw error;
    }
  }

  return { find, json, names, column, number, percent, counted, short, duration, escaped, make, colour, is_dark, chart,
    no_chart, axis, tooltip, base_option, histogram, table, describe_run, fill };
})();
