"use strict";
// Fills the page of `dnamamba pretrain --report`.

page.fill(() => {
  const { find, number, percent, counted, short, duration, escaped, make, colour, chart, no_chart, axis, tooltip, base_option } = page;
  const totals = page.json("totals");
  const history = page.json("history");
  const spans = history.spans.map(([step, steps, skipped, tokens, seconds, bits, norm, rate]) =>
    ({ step, steps, skipped, tokens, seconds, bits, norm, rate }));
  const counted_spans = spans.filter(({ steps, skipped }) => steps > skipped);
  const validations = history.validations.filter((one) => one.bits_per_base !== null);
  const files = [...new Set(validations.map(({ file }) => file))];

  // Okabe & Ito's colours, which stay apart for every kind of colour vision; the accent is the training's.
  const hues = ["#D55E00", "#009E73", "#CC79A7", "#E69F00", "#F0E442", "#56B4E9"];
  const hue = (i) => hues[i % hues.length];
  const short_name = (file) => file.slice(file.lastIndexOf("/") + 1);
  const bits = (value) => value.toFixed(3);

  // The mean of each point of the curve and its neighbours, a fortieth of them on either side.
  function smoothed() {
    const reach = Math.ceil(counted_spans.length / 40);
    return counted_spans.map(({ step }, i) => {
      const near = counted_spans.slice(Math.max(0, i - reach), i + reach + 1);
      return [step, near.reduce((sum, { bits }) => sum + bits, 0) / near.length];
    });
  }

  const steps_axis = () => axis({ type: "value", name: "step", nameLocation: "middle", nameGap: 28, min: "dataMin",
    max: "dataMax", splitLine: { show: false }, axisLabel: { color: colour("muted"), hideOverlap: true, formatter: (value) => short(value) } });
  const values_axis = (name, more) => axis({ type: "value", name, scale: true, splitNumber: 4, axisLine: { show: false },
    nameTextStyle: { color: colour("muted"), align: "left", padding: [0, 0, 0, -4] },
    axisLabel: { color: colour("muted"), formatter: (value) => `${Number(value.toPrecision(3))}` }, ...more });
  const line = (more) => ({ type: "line", showSymbol: false, symbol: "circle", lineStyle: { color: colour("accent"), width: 2 },
    itemStyle: { color: colour("accent") }, ...more });
  const at_step = (text) => tooltip({ trigger: "axis", formatter: (points) =>
    `step ${number(points[0].value[0])}<br>` + points.map(({ seriesName, value }) => `${escaped(seriesName)} <b>${text(value[1])}</b>`).join("<br>") });

  function draw_figures() {
    const last = smoothed().at(-1);
    const seconds = spans.reduce((sum, one) => sum + one.seconds, 0), tokens = spans.reduce((sum, one) => sum + one.tokens, 0);
    const skipped = spans.reduce((sum, one) => sum + one.skipped, 0);
    const figures = [["Steps", totals.steps === totals.all_steps ? number(totals.steps) : `${number(totals.steps)} of ${number(totals.all_steps)}`],
      ["Tokens", short(tokens)]];
    if (last) figures.push(["Bits per base", bits(last[1])]);
    if (validations.length > 0) figures.push(["Held out", bits(validations.at(-1).bits_per_base)]);
    if (seconds > 0) figures.push(["Tokens a second", short(tokens / seconds)], ["Time", duration(seconds)]);
    if (totals.utilisation > 0) figures.push(["Of the device's peak", percent(totals.utilisation)]);
    if (skipped > 0) figures.push(["Steps skipped", number(skipped)]);
    for (const [name, value] of figures) find("figures").append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  }

  function draw_loss() {
    find("loss-says").textContent = "Bits per base: 2 is knowing nothing, 0 is certainty. " +
      (files.length > 0 ? "Of what was trained on, as it was and smoothed, and of held-out files." : "Of what was trained on, as it was and smoothed.");
    if (counted_spans.length < 2) return no_chart("loss-chart", "too few steps for a curve");
    chart("loss-chart", () => ({
      ...base_option(),
      legend: { top: 0, right: 8, textStyle: { color: colour("text") }, data: ["training", "smoothed", ...files.map(short_name)] },
      tooltip: at_step(bits),
      xAxis: steps_axis(),
      yAxis: values_axis("bits per base"),
      series: [
        line({ name: "training", lineStyle: { color: colour("faint"), width: 1 }, itemStyle: { color: colour("faint") },
          data: counted_spans.map(({ step, bits }) => [step, bits]) }),
        line({ name: "smoothed", data: smoothed() }),
        ...files.map((file, i) => line({ name: short_name(file), showSymbol: true, symbolSize: 6,
          lineStyle: { color: hue(i), width: 2 }, itemStyle: { color: hue(i) },
          data: validations.filter((one) => one.file === file).map(({ step, bits_per_base }) => [step, bits_per_base]) })),
      ],
    }));
  }

  function draw_context() {
    const last = files.map((file) => validations.filter((one) => one.file === file).at(-1));
    const says = find("context-says");
    if (last.length === 0) {
      says.textContent = "How much is gained by reading more needs --validation.";
      return no_chart("context-chart", "no held-out file");
    }
    says.textContent = `Of held-out bases after step ${number(last[0].step)}, by how many bases were read before them.`;
    const range = (from) => from === 1 ? "1 base before" : `${number(from)} to ${number(2 * from - 1)} bases before`;
    chart("context-chart", () => ({
      ...base_option(),
      tooltip: tooltip({ trigger: "item", formatter: ({ seriesName, value: [from, loss, bases] }) =>
        `${escaped(seriesName)}<br>${range(from)}<br><b>${bits(loss)}</b> bits, ${counted(bases, "base")}` }),
      xAxis: axis({ type: "log", logBase: 2, name: "bases read before", nameLocation: "middle", nameGap: 28, min: "dataMin",
        max: "dataMax", splitNumber: 8, splitLine: { show: false }, axisLabel: { color: colour("muted"), hideOverlap: true, formatter: (value) => short(value) } }),
      yAxis: values_axis("bits per base"),
      series: last.map((one, i) => line({ name: short_name(one.file), showSymbol: true, symbolSize: 6,
        lineStyle: { color: hue(i), width: 2 }, itemStyle: { color: hue(i) },
        data: one.by_context.filter(([, , loss]) => loss !== null).map(([from, bases, loss]) => [from, loss, bases]) })),
    }));
  }

  function draw_steps() {
    const few = counted_spans.length < 2;
    find("norm-says").textContent = "Its norm before clipping" + (spans.some(({ skipped }) => skipped > 0) ? "; steps that were skipped are left out." : ".");
    if (few) {
      no_chart("rate-chart", "too few steps for a curve");
      no_chart("norm-chart", "too few steps for a curve");
      return;
    }
    chart("rate-chart", () => ({ ...base_option(), tooltip: at_step((value) => value.toPrecision(3)), xAxis: steps_axis(),
      yAxis: values_axis("rate", { scale: false, axisLabel: { color: colour("muted"), formatter: (value) => value === 0 ? "0" : value.toExponential(0) } }),
      series: [line({ name: "rate", data: spans.map(({ step, rate }) => [step, rate]) })] }));
    chart("norm-chart", () => ({ ...base_option(), tooltip: at_step((value) => value.toPrecision(3)), xAxis: steps_axis(),
      yAxis: values_axis("norm", { type: "log" }),
      series: [line({ name: "norm", lineStyle: { color: colour("accent"), width: 1 },
        data: counted_spans.filter(({ norm }) => norm > 0).map(({ step, norm }) => [step, norm]) })] }));
  }

  draw_figures();
  draw_loss();
  draw_context();
  draw_steps();
  page.describe_run("token");
});
