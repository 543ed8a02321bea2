// Line charts as inline SVG: axes, ticks, error bars, reference lines, values under the pointer or by arrow keys.
// Curves differ by colour, stroke and the shape of their points; several charts can share one legend.
"use strict";
hdiff.format = (value) => {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toFixed(1)} M`;
  if (size >= 1e4) return `${+(value / 1e3).toFixed(1)} k`;
  return size < 1e-3 ? value.toExponential(1) : String(+value.toPrecision(4));
};

hdiff.curves = (() => {
  const { el, svg } = hdiff;
  const COLOURS = ["var(--accent)", "var(--warm)", "var(--phrase)", "var(--sentence)", "var(--word)", "var(--crossing)"];
  const STROKES = ["", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2"];
  const POINTS = [
    "M-4,0A4,4 0 1,0 4,0A4,4 0 1,0 -4,0Z", "M-3.6,-3.6H3.6V3.6H-3.6Z", "M0,-4.8L4.4,3.4H-4.4Z",
    "M0,-5L5,0L0,5L-5,0Z", "M0,4.8L4.4,-3.4H-4.4Z", "M-4,-1.6H-1.6V-4H1.6V-1.6H4V1.6H1.6V4H-1.6V1.6H-4Z",
    "M-4.6,0L-1.5,-4H1.5L4.6,0L1.5,4H-1.5Z",
  ];
  // One look per name, by its place among all names; a colour comes again with another stroke and shape.
  const look = (place, colour) => ({ colour: colour || COLOURS[place % COLOURS.length], stroke: STROKES[place % STROKES.length], point: POINTS[place % POINTS.length] });
  const point = (style, x, y) => svg("path", { d: style.point, transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`, style: `fill:${style.colour};stroke:var(--panel)`, "stroke-width": 1 });
  const sample = (style, hasPoints) => svg("svg", { class: "swatch", width: 34, height: 12, viewBox: "0 0 34 12", "aria-hidden": "true" },
    svg("line", { x1: 1, x2: 33, y1: 6, y2: 6, style: `stroke:${style.colour}`, "stroke-width": 2, "stroke-dasharray": style.stroke }),
    hasPoints ? point(style, 17, 6) : null);
  return { look, point, sample };
})();

// Marks of an axis: round values, on a logarithmic axis 1, 2, 5 times powers of ten.
hdiff.ticks = (low, high, count, isLog) => {
  if (isLog && high / low >= 4) {
    const list = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const m of [1, 2, 5]) if (m * 10 ** power >= low * 0.999 && m * 10 ** power <= high * 1.001) list.push(+(m * 10 ** power).toPrecision(6));
    }
    return list.length <= count + 1 ? list : list.filter((v) => String(v).replace(/[0.]/g, "").startsWith("1"));
  }
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough) || 10 * power;
  const list = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) list.push(Math.abs(v) < step / 1e6 ? 0 : +v.toPrecision(10));
  return list;
};

// A chart without legend: returns how to draw it again when `shown`, a set of names, has changed.
hdiff.lineChart = (node, chart, styles, shown) => {
  const { el, svg, format, curves } = hdiff;
  const visible = () => chart.series.filter((s) => s.faint || shown.has(s.name));
  const box = el("div");
  const stage = el("div", { class: "stage chart" }, box);
  const tip = hdiff.tip(stage);
  let domain, atX, last = 0;

  function measure() {
    const points = visible().flatMap((s) => s.points);
    const xs = points.map((p) => p[0]);
    const ys = points.flatMap((p) => [p[1] - (p[2] || 0), p[1] + (p[2] || 0)]);
    for (const line of chart.references || []) ys.push(line.y);
    if (!points.length) { xs.push(1, 2); ys.push(0, 1); }
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    const pad = (high - low || Math.abs(high) || 1) * 0.07;
    domain = { x: [Math.min(...xs), Math.max(...xs)], y: [low - pad, high + pad] };
    atX = [...new Set(xs)].sort((a, b) => a - b);
  }

  function scales(width, height, margin) {
    const warp = chart.log_x ? Math.log2 : (v) => v;
    const [x0, x1] = domain.x.map(warp);
    const inner = width - margin.left - margin.right;
    const x = (v) => (x1 === x0 ? margin.left + inner / 2 : margin.left + ((warp(v) - x0) / (x1 - x0)) * inner);
    const y = (v) => height - margin.bottom - ((v - domain.y[0]) / (domain.y[1] - domain.y[0])) * (height - margin.top - margin.bottom);
    return { x, y };
  }

  function axes(figure, { x, y }, width, height, margin) {
    for (const v of hdiff.ticks(...domain.y, 5)) {
      figure.append(svg("line", { class: "hair", x1: margin.left, x2: width - margin.right, y1: y(v), y2: y(v) }),
        svg("text", { x: margin.left - 8, y: y(v) + 4, "text-anchor": "end" }, format(v)));
    }
    const floor = height - margin.bottom;
    figure.append(svg("line", { class: "rule", x1: margin.left, x2: width - margin.right, y1: floor, y2: floor }));
    const isListed = chart.log_x && atX.length <= 8 && atX.every((v) => Number.isInteger(v));
    for (const v of isListed ? atX : hdiff.ticks(...domain.x, width < 400 ? 4 : 6, chart.log_x)) {
      figure.append(svg("line", { class: "rule", x1: x(v), x2: x(v), y1: floor, y2: floor + 5 }),
        svg("text", { x: x(v), y: floor + 19, "text-anchor": "middle" }, format(v)));
    }
    figure.append(svg("text", { x: width - margin.right, y: height - 3, "text-anchor": "end" }, chart.x_label),
      svg("text", { class: "strong", x: 0, y: 13 }, chart.y_label));
  }

  function plot(figure, series, { x, y }) {
    const style = styles.get(series.name);
    if (series.points.length > 1) {
      const d = series.points.map((p, k) => `${k ? "L" : "M"}${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join("");
      figure.append(svg("path", { d, fill: "none", style: `stroke:${style.colour}`, "stroke-width": series.faint ? 1 : 2, opacity: series.faint ? 0.32 : 1, "stroke-linejoin": "round", "stroke-dasharray": series.faint ? "" : style.stroke }));
    }
    if (series.points.length > 40) {
      const end = (p, sign) => `${x(p[0]).toFixed(1)},${y(p[1] + sign * (p[2] || 0)).toFixed(1)}`;
      const band = [...series.points.map((p) => end(p, 1)), ...series.points.map((p) => end(p, -1)).reverse()];
      if (series.points.some((p) => p[2])) figure.append(svg("path", { d: `M${band.join("L")}Z`, style: `fill:${style.colour}`, opacity: 0.16 }));
      return;
    }
    for (const [px, py, error] of series.points) {
      if (error) figure.append(svg("line", { x1: x(px), x2: x(px), y1: y(py - error), y2: y(py + error), style: `stroke:${style.colour}`, "stroke-width": 1.5 }));
      figure.append(curves.point(style, x(px), y(py)));
    }
  }

  function draw(width) {
    last = width;
    measure();
    const height = Math.round(Math.min(340, Math.max(230, width * 0.42)));
    const margin = { left: 52, right: 14, top: 28, bottom: 42 };
    const scale = scales(width, height, margin);
    const figure = svg("svg", { class: "figure", width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img", "aria-label": `${chart.y_label} over ${chart.x_label}; arrow keys read the values` });
    axes(figure, scale, width, height, margin);
    for (const series of visible()) plot(figure, series, scale);
    for (const line of chart.references || []) {
      figure.append(svg("line", { x1: margin.left, x2: width - margin.right, y1: scale.y(line.y), y2: scale.y(line.y), style: "stroke:var(--soft)", "stroke-dasharray": "5 4" }),
        svg("text", { class: "halo", x: width - margin.right - 4, y: scale.y(line.y) - 6, "text-anchor": "end" }, `${line.label}: ${line.y.toFixed(3)}`));
    }
    const cursor = svg("line", { class: "waterline", y1: margin.top, y2: height - margin.bottom, visibility: "hidden" });
    figure.append(cursor);
    box.replaceChildren(figure);
    follow(figure, cursor, scale, margin);
  }

  function follow(figure, cursor, scale, margin) {
    let at = 0;
    const nearest = (points, v) => points.reduce((best, p) => (Math.abs(p[0] - v) < Math.abs(best[0] - v) ? p : best));
    const say = () => {
      const v = atX[at];
      cursor.setAttribute("x1", scale.x(v));
      cursor.setAttribute("x2", scale.x(v));
      cursor.setAttribute("visibility", "visible");
      const lines = visible().filter((s) => s.points.length && !s.faint).map((s) => {
        const p = nearest(s.points, v);
        return `${s.name}${p[3] ? `, ${p[3]}` : ""}: ${format(p[1])}${p[2] ? ` ± ${format(p[2])}` : ""}${p[0] === v ? "" : ` (at ${format(p[0])})`}`;
      });
      tip.show(scale.x(v), margin.top + 40, el("b", {}, `${chart.x_label} ${format(v)}`), ...lines);
    };
    const hide = () => { tip.hide(); cursor.setAttribute("visibility", "hidden"); };
    figure.addEventListener("pointermove", (event) => {
      const px = event.clientX - figure.getBoundingClientRect().left;
      at = atX.reduce((best, v, i) => (Math.abs(scale.x(v) - px) < Math.abs(scale.x(atX[best]) - px) ? i : best), 0);
      say();
    });
    figure.addEventListener("pointerleave", hide);
    figure.addEventListener("blur", hide);
    figure.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      at = Math.max(0, Math.min(atX.length - 1, at + move * Math.max(1, Math.round(atX.length / 60))));
      say();
    });
  }

  node.append(stage);
  hdiff.responsive(box, draw);
  return () => { tip.hide(); if (last) draw(last); };
};

// Charts that share their curves, under one legend in which curves are chosen.
hdiff.mountCharts = (node, charts) => {
  const { el, curves } = hdiff;
  const MOST = 5; // shown at first
  const named = new Map();
  for (const chart of charts) for (const s of chart.series) if (!named.has(s.name)) named.set(s.name, s);
  const names = [...named.keys()].filter((name) => !named.get(name).faint);
  const styles = new Map([...named].map(([name, s]) => [name, curves.look(Math.max(0, names.indexOf(name)), s.colour)]));
  const shown = new Set(names.slice(0, MOST));
  const plots = el("div", { class: charts.length > 1 ? "plots" : "plot" });
  let redraw = [];
  const hasPoints = (name) => charts.some((chart) => chart.series.some((s) => s.name === name && s.points.length <= 40));
  const choose = (name) => el("label", {}, el("input", { type: "checkbox", checked: shown.has(name), on: { change: (event) => {
    if (event.target.checked) shown.add(name);
    else shown.delete(name);
    redraw.forEach((again) => again());
  } } }), curves.sample(styles.get(name), hasPoints(name)), name);
  const legend = el("fieldset", { class: "choose" }, el("legend", {}, names.length > MOST ? `Curves (${MOST} of ${names.length} are shown at first)` : "Curves"), ...names.map(choose));
  node.replaceChildren(names.length > 1 ? legend : "", plots);
  redraw = charts.map((chart) => hdiff.lineChart(plots, chart, styles, shown)); // in the page, so that widths are known
};

hdiff.mountChart = (node, chart) => (chart.kind === "calibration" ? hdiff.mountCalibration(node, chart) : hdiff.mountCharts(node, [chart]));
