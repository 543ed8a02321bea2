// Reliability diagrams: observed frequency over predicted probability, the diagonal, and how many statements.
"use strict";
hdiff.mountCalibration = (node, chart) => {
  const { el, svg, format } = hdiff;
  const box = el("div");
  const stage = el("div", { class: "stage chart" }, box);
  const tip = hdiff.tip(stage);
  const FEW = 30; // points of fewer statements are hollow
  const most = Math.max(...chart.bins.map((bin) => bin[3]));

  function draw(width) {
    const side = Math.min(width, 400) - 66;
    const margin = { left: 52, top: 28 };
    const counts = { top: margin.top + side + 14, height: 54 };
    const height = counts.top + counts.height + 40;
    const x = (v) => margin.left + v * side;
    const y = (v) => margin.top + (1 - v) * side;
    const figure = svg("svg", { class: "figure", width: side + 66, height, viewBox: `0 0 ${side + 66} ${height}`, tabindex: 0, role: "img", "aria-label": `${chart.title}: ${chart.y_label} over ${chart.x_label}. ${chart.text} Arrow keys read the values.` });
    for (const v of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
      figure.append(svg("line", { class: "hair", x1: x(0), x2: x(1), y1: y(v), y2: y(v) }),
        svg("line", { class: "hair", x1: x(v), x2: x(v), y1: y(0), y2: y(1) }),
        svg("text", { x: margin.left - 8, y: y(v) + 4, "text-anchor": "end" }, String(v)),
        svg("text", { x: x(v), y: counts.top + counts.height + 17, "text-anchor": "middle" }, String(v)));
    }
    figure.append(svg("text", { class: "strong", x: 0, y: 13 }, chart.y_label),
      svg("text", { x: x(1), y: height - 3, "text-anchor": "end" }, chart.x_label),
      svg("text", { class: "tag", x: margin.left - 8, y: counts.top + counts.height, "text-anchor": "end" }, "count"),
      svg("line", { class: "diagonal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
      svg("line", { class: "rule", x1: x(0), x2: x(1), y1: counts.top + counts.height, y2: counts.top + counts.height }));
    for (const [, , , count, low, high] of chart.bins) {
      const tall = Math.max(1, (counts.height * count) / most);
      figure.append(svg("rect", { class: "bar", x: x(low) + 1.5, width: x(high) - x(low) - 3, y: counts.top + counts.height - tall, height: tall }));
    }
    const d = chart.bins.map(([p, o], i) => `${i ? "L" : "M"}${x(p).toFixed(1)},${y(o).toFixed(1)}`).join("");
    figure.append(svg("path", { d, fill: "none", style: "stroke:var(--accent)", "stroke-width": 1.5, opacity: 0.6 }));
    const dots = chart.bins.map(([p, o, error, count]) => {
      if (error) figure.append(svg("line", { x1: x(p), x2: x(p), y1: y(Math.min(1, o + error)), y2: y(Math.max(0, o - error)), style: "stroke:var(--accent)", "stroke-width": 1.5 }));
      const dot = svg("circle", { cx: x(p), cy: y(o), r: 4, style: count < FEW ? "fill:var(--paper);stroke:var(--accent)" : "fill:var(--accent);stroke:var(--panel)", "stroke-width": 1.5 });
      figure.append(dot);
      return dot;
    });
    box.replaceChildren(figure);
    follow(figure, dots, x, y);
  }

  function follow(figure, dots, x, y) {
    let at = -1;
    const say = (next) => {
      at = next;
      dots.forEach((dot, i) => dot.setAttribute("r", i === at ? 6 : 4));
      const [p, o, error, count, low, high] = chart.bins[at];
      tip.show(x(p), y(o), el("b", {}, `probability ${low} to ${high}`), `predicted ${format(p)}, observed ${format(o)}${error ? ` ± ${format(error)}` : ""}`, `${count.toLocaleString("en")} statements`);
    };
    const hide = () => { tip.hide(); dots.forEach((dot) => dot.setAttribute("r", 4)); };
    figure.addEventListener("pointermove", (event) => {
      const px = event.clientX - figure.getBoundingClientRect().left;
      say(chart.bins.reduce((best, bin, i) => (Math.abs(x(bin[0]) - px) < Math.abs(x(chart.bins[best][0]) - px) ? i : best), 0));
    });
    figure.addEventListener("pointerleave", hide);
    figure.addEventListener("blur", hide);
    figure.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      say(Math.max(0, Math.min(dots.length - 1, at + move)));
    });
  }

  node.replaceChildren(stage);
  hdiff.responsive(box, draw);
};
