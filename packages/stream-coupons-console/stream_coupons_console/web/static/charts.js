"use strict";
// Draws the line charts whose data are in the page, with uPlot; names and tables are in the page already.
const PHONE = 480;
const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3]];
const drawn = [];

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function written(value, unit) {
  if (value == null) return "–";
  if (unit === "date") {
    const time = value % 86400 ? { hour: "2-digit", minute: "2-digit" } : {};
    const day = { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" };
    return new Date(value * 1000).toLocaleString("en-GB", { ...day, ...time });
  }
  const digits = unit === "money" ? { minimumFractionDigits: 2, maximumFractionDigits: 2 }
    : Math.abs(value) >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
  return value.toLocaleString("en", digits).replace("-", "−") + (unit === "percent" ? "%" : "");
}

// Points without neighbours, which no line joins.
const alone = (u, number) =>
  u.data[number].flatMap((y, i, all) => (y != null && all[i - 1] == null && all[i + 1] == null ? [i] : []));

// Days as people write them, with the hour where a tick is within a day.
const dates = (u, ticks) =>
  ticks.map((tick) => {
    const shown = tick % 86400 ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
    return new Date(tick * 1000).toLocaleString("en-GB", { ...shown, timeZone: "UTC" });
  });

function axis(of, isX) {
  const colours = { stroke: () => css("--muted"), font: "12px system-ui, sans-serif" };
  const rule = { stroke: () => css("--line"), width: 1 };
  const values = of.unit === "date" ? { values: dates } : of.unit === "percent" ? { values: (u, ticks) => ticks.map((tick) => `${tick}%`) } : {};
  const labels = of.label ? { label: of.label, labelSize: 20, labelFont: colours.font } : {};
  if (isX) return { ...colours, ...values, ...labels, grid: { show: false }, ticks: rule, space: 90, size: 32 };
  const size = (u, texts) => 16 + 7 * Math.max(2, ...(texts || []).map((text) => `${text}`.length));
  return { ...colours, ...values, grid: rule, ticks: { show: false }, size };
}

// Bands are columns of their own, before those of the lines, so that they lie under all lines.
const banded = (spec) => spec.series.flatMap((one, i) => (one.low ? [i] : []));

function options(spec, isQuiet) {
  const edge = { width: 0, points: { show: false } };
  const bands = banded(spec).map((i, order) => ({
    series: [2 * order + 1, 2 * order + 2],
    fill: () => css(`--${spec.series[i].colour}`) + (isQuiet(i) ? "0a" : "2e"),
  }));
  const series = [{}, ...bands.flatMap(() => [{ ...edge }, { ...edge }])];
  spec.series.forEach((one) => {
    const stroke = () => css(`--${one.colour}`);
    const points = { show: false, filter: alone, size: 8, fill: stroke };
    series.push({ label: one.name, stroke, width: 2, dash: DASHES[one.dash], points });
  });
  const range = (u, low, high) =>
    uPlot.rangeNum(...(spec.y.from_zero ? [Math.min(low, 0), Math.max(high, 0)] : [low, high]), 0.1, true);
  return {
    series,
    bands,
    scales: { x: { time: spec.x.unit === "date" }, y: { range } },
    axes: [axis(spec.x, true), axis(spec.y, false)],
    cursor: { y: false, drag: { x: true, y: false } },
    legend: { show: false },
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
  };
}

function draw(figure) {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const place = figure.querySelector(".chart");
  const at = figure.querySelector(".at");
  const buttons = Array.from(figure.querySelectorAll(".legend button"));
  const isPressed = (one) => one.getAttribute("aria-pressed") === "true";
  const isQuiet = (i) => buttons.some(isPressed) && !isPressed(buttons[i]);
  const first = 1 + 2 * banded(spec).length;
  const size = () => ({ width: place.clientWidth, height: place.clientWidth < PHONE ? 240 : 320 });
  const show = (u) => {
    const i = u.cursor.idx;
    const shown = spec.series.map((one, number) => (i == null ? null : u.data[first + number][i]));
    buttons.forEach((one, number) => {
      const value = one.querySelector("b");
      value.textContent = i == null ? value.dataset.last : written(shown[number], spec.y.unit);
    });
    if (i == null) at.textContent = "";
    else at.textContent = `${spec.x.label || "at"} ${written(u.data[0][i], spec.x.unit)}`;
  };
  const edges = banded(spec).flatMap((i) => [spec.series[i].high, spec.series[i].low]);
  const columns = [spec.x.values, ...edges, ...spec.series.map((one) => one.y)];
  const given = { ...options(spec, isQuiet), ...size(), hooks: { setCursor: [show] } };
  const chart = new uPlot(given, columns, place);
  buttons.forEach((button) =>
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", !isPressed(button));
      buttons.forEach((_, i) => (chart.series[first + i].alpha = isQuiet(i) ? 0.15 : 1));
      chart.redraw();
    }),
  );
  new ResizeObserver(() => chart.setSize(size())).observe(place);
  figure.chart = chart;
  drawn.push(chart);
}

// Draws the charts below an element that are not drawn yet, and forgets those that were taken off the page.
function drawCharts(root) {
  drawn.splice(0, drawn.length, ...drawn.filter((chart) => chart.root.isConnected));
  for (const figure of root.querySelectorAll("[data-chart]")) {
    try {
      if (!figure.chart) draw(figure);
    } catch (error) {
      figure.parentElement.querySelector("details").open = true; // the figures are there, as a table
      console.error(error);
    }
  }
  queueMicrotask(() => (document.documentElement.dataset.drawn = drawn.length)); // after the charts' own
}

drawCharts(document);
for (const query of ["(prefers-color-scheme: dark)", "print"])
  matchMedia(query).addEventListener("change", () => drawn.forEach((chart) => chart.redraw()));
