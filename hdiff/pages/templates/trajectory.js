// Trajectory explorer: texts as a sampler fills them in, step by step.
"use strict";
// `isSmall`: one of many on a page, shown finished, coloured by step and without the histogram.
// Where no parser has seen the texts, units are coloured by their length in place of their level.
hdiff.mountTrajectory = (node, trajectory, { isSmall = false } = {}) => {
  const { el, svg, color } = hdiff;
  const pieces = trajectory.samples.flatMap((sample) => sample.pieces);
  // Where units are fewer than steps, the last steps have nothing to fill in.
  const steps = pieces.reduce((last, piece) => Math.max(last, piece.step), 1);
  const idle = trajectory.num_steps - steps;
  const shownUnits = [];
  const isParsed = pieces.some((piece) => piece.level !== "token" && piece.level !== "given");
  const SIZES = [["clause", "9 tokens or more in one unit"], ["phrase", "3 to 8"], ["word", "1 or 2"]];
  const sizeOf = (count) => (count > 8 ? "clause" : count > 2 ? "phrase" : "word");

  // Adjacent pieces of one unit that were filled in together are one block.
  function blocksOf(sample) {
    const blocks = [];
    for (const piece of sample.pieces) {
      const last = blocks[blocks.length - 1];
      if (last && last.step === piece.step && (last.unit === piece.unit || piece.step === 0)) {
        last.text += piece.text;
        last.count += 1;
      } else blocks.push({ ...piece, count: 1 });
    }
    if (!isParsed) for (const block of blocks) if (block.step) block.shade = sizeOf(block.count);
    return blocks;
  }

  // White space at the ends and line breaks stay outside the coloured block; a lone line break shows as ¶.
  function blockNodes(block) {
    const title = `${block.step ? `step ${block.step} · ` : ""}${block.shade ? "unit" : block.level}${block.count > 1 ? ` of ${block.count} tokens` : ""}`;
    const shade = block.shade || block.level;
    const unit = (text) => {
      const made = el("span", { class: "unit", style: `--c:${color(shade)}`, title }, text);
      shownUnits.push({ node: made, step: block.step, shade });
      return made;
    };
    const parts = block.text.split(/(^\s+|\s+$|\s*\n\s*)/).filter((part) => part !== "");
    return parts.flatMap((part) => (part.trim() ? [unit(part)] : part.includes("\n") && parts.length === 1 ? [unit("¶"), part] : [part]));
  }

  const samples = el("div", { class: "samples" }, ...trajectory.samples.map((sample, i) =>
    el("div", { class: "sample" }, el("b", {}, `Sample ${i + 1}`), ...blocksOf(sample).flatMap(blockNodes))));

  const perStep = Array.from({ length: steps + 1 }, (_, k) => pieces.filter((piece) => piece.step === k).length);
  const most = Math.max(1, ...perStep);
  const histogram = el("div", { class: "scroll" });
  let bars = [];
  function draw(width) {
    const height = 62;
    const each = width / steps;
    const figure = svg("svg", { class: "figure", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Tokens filled in at each step" });
    bars = [];
    for (let k = 1; k <= steps; k++) {
      const tall = Math.max(1, (40 * perStep[k]) / most);
      const bar = svg("rect", { class: "bar", x: (k - 1) * each + Math.min(2, each / 6), y: 44 - tall, width: Math.max(1, each - Math.min(4, each / 3)), height: tall, rx: 1.5 });
      bars.push(bar);
      const hit = svg("rect", { x: (k - 1) * each, y: 0, width: each, height, fill: "transparent", style: "cursor:pointer", on: { click: () => control.set(k) } },
        svg("title", {}, `step ${k}: ${perStep[k]} tokens`));
      const every = Math.ceil(30 / each);
      if (k === 1 || k === steps || (k % every === 0 && steps - k >= every)) {
        figure.append(svg("text", { class: "tag", x: (k - 0.5) * each, y: 58, "text-anchor": "middle" }, String(k)));
      }
      figure.append(bar, hit);
    }
    histogram.replaceChildren(figure);
    paint(current);
  }

  let current = isSmall ? steps : Math.ceil(steps / 2);
  const byUnit = isParsed ? "level" : "length";
  let colouring = isSmall ? "step" : byUnit;
  function paint(step) {
    current = step;
    for (const unit of shownUnits) {
      const state = unit.step > step ? "blank" : unit.step && unit.step === step ? "new" : "old";
      if (unit.node.dataset.state !== state) unit.node.dataset.state = state;
      const byStep = colouring === "step" && unit.step > 0;
      unit.node.style.setProperty("--c", byStep ? "var(--accent)" : color(unit.shade));
      unit.node.style.setProperty("--mix", !byStep ? "11%" : `${Math.round(62 - (54 * Math.max(0, unit.step - 1)) / Math.max(1, steps - 1))}%`);
    }
    bars.forEach((bar, i) => { bar.style.fill = i + 1 === step ? "var(--ink)" : i + 1 < step ? "" : "var(--rule)"; });
    const done = pieces.filter((piece) => piece.step <= step).length;
    const left = step === steps && idle > 0 ? `; nothing is left for ${idle} more step${idle === 1 ? "" : "s"}` : "";
    return { strong: `step ${step} of ${steps}`, rest: `${Math.round((100 * done) / Math.max(1, pieces.length))} % of tokens filled in${left}` };
  }

  const name = `colouring-${hdiff.mountTrajectory.count = (hdiff.mountTrajectory.count || 0) + 1}`;
  const choice = el("fieldset", { class: "segmented" }, el("legend", { class: "visually-hidden" }, "Colour by"), ...[byUnit, "step"].map((value) =>
    el("label", {}, el("input", { type: "radio", name, value, checked: value === colouring, on: { change: () => { colouring = value; refresh(); } } }), `colour by ${value}`)));
  const key = el("div");
  const control = hdiff.player({ label: "Sampling step", min: 0, max: steps, step: 1, value: current, seconds: Math.min(12, Math.max(3, steps * 0.45)), onChange: paint });
  function refresh() {
    const used = hdiff.COLOURED.filter((level) => pieces.some((piece) => piece.level === level));
    const lengths = SIZES.map(([level, text]) => ({ text, level })).filter(({ level }) => shownUnits.some((unit) => unit.shade === level));
    const levels = used.filter((level) => level !== "given").map((level) => ({ text: level, level }));
    const items = colouring === "step" ? [{ text: "filled in early is darker", colour: "var(--accent)" }] : isParsed ? levels : lengths;
    if (pieces.some((piece) => piece.step === 0)) items.push({ text: "given", level: "token" });
    const crossing = colouring === "level" && used.includes("crossing") ? el("p", { class: "note" }, hdiff.CROSSING) : "";
    key.replaceChildren(crossing, hdiff.legend([...items, { text: "still masked", colour: "var(--faint)", kind: "hollow" }]));
    control.show();
  }
  node.replaceChildren(el("div", { class: "panel" }, control.node,
    el("div", { class: "field" }, isSmall ? "" : choice, key), samples));
  refresh();
  if (isSmall) return;
  node.append(el("figure", {}, el("div", { class: "stage" }, histogram), el("figcaption", {}, "Tokens filled in at each step, all samples together. Click a bar to go there.")));
  hdiff.responsive(histogram, draw);
};
