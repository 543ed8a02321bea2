// Line charts as inline SVG: axes, ticks, error bars, reference lines, values under the pointer or by arrow keys.
"use strict";
hdiff.mountChart = (node, chart) => {
  const { el, svg } = hdiff;
  const COLOURS = ["var(--accent)", "var(--warm)", "var(--phrase)", "var(--sentence)"];
  const colourOf = (series, i) => series.colour || COLOURS[i % COLOURS.length];
  const format = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6) return `${+(value / 1e6).toFixed(1)} M`;
    if (size >= 1e4) return `${+(value / 1e3).toFixed(1)} k`;
    return size < 1e-3 ? value.toExponential(1) : String(+value.toPrecision(4));
  };

  function ticks(low, high, count) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough) || 10 * power;
    const list = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) list.push(Math.abs(v) < step / 1e6 ? 0 : v);
    return list;
  }

  function domainOf() {
    const points = chart.series.flatMap((s) => s.points);
    const xs = points.map((p) => p[0]);
    const ys = points.flatMap((p) => [p[1] - (p[2] || 0), p[1] + (p[2] || 0)]);
    for (const line of chart.references || []) ys.push(line.y);
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    const pad = (high - low || Math.abs(high) || 1) * 0.07;
    return { x: [Math.min(...xs), Math.max(...xs)], y: [low - pad, high + pad] };
  }

  const domain = domainOf();
  const atX = [...new Set(chart.series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
  const box = el("div");
  const stage = el("div", { class: "stage chart" }, box);
  const tip = hdiff.tip(stage);

  function scales(width, height, margin) {
    const warp = chart.log_x ? Math.log2 : (v) => v;
    const [x0, x1] = domain.x.map(warp);
    const x = (v) => (x1 === x0 ? (margin.left + width - margin.right) / 2 : margin.left + ((warp(v) - x0) / (x1 - x0)) * (width - margin.left - margin.right));
    const y = (v) => height - margin.bottom - ((v - domain.y[0]) / (domain.y[1] - domain.y[0])) * (height - margin.top - margin.bottom);
    return { x, y };
  }

  function axes(figure, { x, y }, width, height, margin) {
    for (const v of ticks(...domain.y, 5)) {
      figure.append(svg("line", { class: "hair", x1: margin.left, x2: width - margin.right, y1: y(v), y2: y(v) }),
        svg("text", { x: margin.left - 8, y: y(v) + 4, "text-anchor": "end" }, format(v)));
    }
    const floor = height - margin.bottom;
    figure.append(svg("line", { class: "rule", x1: margin.left, x2: width - margin.right, y1: floor, y2: floor }));
    for (const v of chart.log_x ? atX : ticks(...domain.x, width < 500 ? 3 : 6)) {
      figure.append(svg("line", { class: "rule", x1: x(v), x2: x(v), y1: floor, y2: floor + 5 }),
        svg("text", { x: x(v), y: floor + 19, "text-anchor": "middle" }, format(v)));
    }
    figure.append(svg("text", { x: width - margin.right, y: height - 3, "text-anchor": "end" }, chart.x_label),
      svg("text", { class: "strong", x: 0, y: 13 }, chart.y_label));
  }

  function plot(figure, series, i, { x, y }) {
    const stroke = colourOf(series, i);
    if (series.points.length > 1) {
      const d = series.points.map((p, k) => `${k ? "L" : "M"}${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join("");
      figure.append(svg("path", { d, fill: "none", style: `stroke:${stroke}`, "stroke-width": series.faint ? 1 : 2, opacity: series.faint ? 0.32 : 1, "stroke-linejoin": "round" }));
    }
    if (series.points.length > 40) return;
    for (const [px, py, error] of series.points) {
      if (error) figure.append(svg("line", { x1: x(px), x2: x(px), y1: y(py - error), y2: y(py + error), style: `stroke:${stroke}`, "stroke-width": 1.5 }));
      figure.append(svg("circle", { cx: x(px), cy: y(py), r: 3.5, style: `fill:${stroke};stroke:var(--panel)`, "stroke-width": 1.5 }));
    }
  }

  function draw(width) {
    const height = Math.round(Math.min(340, Math.max(230, width * 0.42)));
    const margin = { left: 52, right: 14, top: 28, bottom: 42 };
    const scale = scales(width, height, margin);
    const figure = svg("svg", { class: "figure", width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img", "aria-label": `${chart.y_label} over ${chart.x_label}; arrow keys read the values` });
    axes(figure, scale, width, height, margin);
    for (const line of chart.references || []) {
      figure.append(svg("line", { x1: margin.left, x2: width - margin.right, y1: scale.y(line.y), y2: scale.y(line.y), style: "stroke:var(--soft)", "stroke-dasharray": "5 4" }),
        svg("text", { x: margin.left + 4, y: scale.y(line.y) - 6 }, line.label));
    }
    chart.series.forEach((series, i) => plot(figure, series, i, scale));
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
      const lines = chart.series.filter((s) => s.points.length && !s.faint).map((s) => {
        const p = nearest(s.points, v);
        return `${s.name}: ${format(p[1])}${p[2] ? ` ± ${format(p[2])}` : ""}${p[0] === v ? "" : ` (at ${format(p[0])})`}`;
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

  const named = chart.series.filter((s) => !s.faint);
  const key = named.map((s) => ({ text: s.name, colour: colourOf(s, chart.series.indexOf(s)), kind: "line" }));
  node.replaceChildren(stage, named.length > 1 ? hdiff.legend(key) : "");
  hdiff.responsive(box, draw);
};
