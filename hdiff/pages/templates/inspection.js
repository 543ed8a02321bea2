// Corruption explorer: a sentence, its nested spans, salience, and what is masked at time t.
"use strict";
hdiff.mountInspection = (node, exploration) => {
  const { el, svg, color, toggle } = hdiff;
  const { words } = exploration;
  const spans = exploration.spans.filter((span) => span.level !== "word" && span.level !== "token");
  const units = unitsOf(words, exploration.spans);
  const clipped = (text, room) => {
    const most = Math.floor(room / 7);
    return text.length <= most ? text : most < 2 ? "" : `${text.slice(0, most - 1)}…`;
  };

  // Runs of words with one unit id, with the level of the span that covers exactly that run.
  function unitsOf(all, tree) {
    const runs = [];
    all.forEach((word, i) => {
      const last = runs[runs.length - 1];
      if (last && last.id === word.unit) last.end = i + 1;
      else runs.push({ id: word.unit, start: i, end: i + 1 });
    });
    for (const run of runs) {
      const exact = tree.filter((span) => span.start === run.start && span.end === run.end).map((span) => span.level);
      const allowed = hdiff.LEVELS.slice(Math.max(0, hdiff.LEVELS.indexOf(exploration.level)));
      run.level = allowed.find((level) => exact.includes(level)) || (run.end - run.start === 1 ? "word" : exploration.level);
    }
    return runs;
  }

  // Rows from the bottom up: a span lies one row above the highest span inside it.
  function rowsOf(list) {
    const order = list.map((span, i) => ({ span, i })).sort((a, b) =>
      a.span.end - a.span.start - (b.span.end - b.span.start)
      || hdiff.LEVELS.indexOf(b.span.level) - hdiff.LEVELS.indexOf(a.span.level) || b.i - a.i);
    const placed = [];
    for (const { span } of order) {
      const inside = placed.filter((p) => p.span.start < span.end && span.start < p.span.end);
      placed.push({ span, row: inside.length ? Math.max(...inside.map((p) => p.row)) + 1 : 0 });
    }
    return placed;
  }

  const unitOf = [];
  for (const unit of units) for (let i = unit.start; i < unit.end; i++) unitOf[i] = unit;

  const wordNodes = words.map((word, i) => el("span", {
    class: ["w", words[i + 1]?.space_before ? "gap" : "", unitOf[i].start === i ? "starts" : "", unitOf[i].end === i + 1 ? "ends" : ""].join(" "),
    style: `--c:${color(unitOf[i].level)};--s:${word.salience ?? 1}`,
    title: `${word.pos || "word"} · salience ${(word.salience ?? 1).toFixed(2)} · masked at t = ${word.time.toFixed(2)}`,
  }, el("span", { class: "text", style: word.stages ? `min-width:${(0.56 * Math.max(...word.stages.map((stage) => stage.text.length))).toFixed(1)}em` : null }, word.text, word.stages ? el("span", { class: "stands-in" }) : ""), el("span", { class: "salience" })));
  const sentence = el("div", { class: "words" });
  wordNodes.forEach((word, i) => sentence.append(...(words[i].space_before && i ? [document.createElement("wbr"), word] : [word])));

  const scroll = el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Span diagram; scrolls sideways when wide" });
  const stage = el("div", { class: "stage" }, scroll);
  const tip = hdiff.tip(stage);
  let drawn = { spans: [], words: [], line: null, water: null, y: () => 0 };

  function columns(width, gutter) {
    const wants = words.map((word) => Math.max(34, 8.4 * word.text.length + 16));
    const sum = wants.reduce((a, b) => a + b, 0);
    const stretch = Math.min(1.7, Math.max(1, (width - gutter - 4) / sum));
    const edges = [gutter];
    for (const want of wants) edges.push(edges[edges.length - 1] + want * stretch);
    return edges;
  }

  function drawSpan(placed, edges, top, available) {
    const { span } = placed;
    const x = edges[span.start] + 1.5;
    const width = edges[span.end] - edges[span.start] - 3;
    const text = words.slice(span.start, span.end).map((w, i) => (i && w.space_before ? " " : "") + w.text).join("");
    const isUnit = units.some((unit) => unit.start === span.start && unit.end === span.end && unit.level === span.level);
    const isWide = width > 0.6 * available; // its middle may be scrolled out of sight
    const describe = () => tip.show(Math.min(x + width / 2 - scroll.scrollLeft, available), top, el("b", {}, `${span.label} · ${span.level}`), text);
    const group = svg("g", {
      class: isUnit ? "span unit" : "span", style: `--c:${color(span.level)}`, tabindex: 0, role: "img",
      "aria-label": `${span.level} ${span.label}: ${text}`,
      on: { pointerenter: describe, focus: describe, pointerleave: tip.hide, blur: tip.hide },
    }, svg("rect", { x, y: top, width, height: 24, rx: 4 }),
    svg("text", { x: isWide ? x + 9 : x + width / 2, y: top + 16, "text-anchor": isWide ? "start" : "middle" }, clipped(span.label, width - 6)));
    return { group, last: Math.max(...words.slice(span.start, span.end).map((w) => w.time)) };
  }

  function draw(available) {
    const gutter = available < 520 ? 50 : 74;
    const edges = columns(available, gutter);
    const width = Math.max(available, edges[words.length] + 4);
    const placed = rowsOf(spans);
    const numRows = Math.max(0, ...placed.map((p) => p.row + 1));
    const wordTop = numRows * 29 + 6;
    const bars = { top: wordTop + 48, height: 34 };
    const times = { top: bars.top + bars.height + 34, height: 118 };
    const right = edges[words.length];
    const y = (t) => times.top + times.height * (1 - t);
    const height = times.top + times.height + 12;
    const figure = svg("svg", { class: "figure", width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Spans, salience and masking times" });
    const label = (text, at) => svg("text", { x: 0, y: at, class: "tag" }, text);
    if (numRows) figure.append(label("spans", wordTop / 2 + 1));
    figure.append(label("words", wordTop + 17), label("salience", bars.top + bars.height - 2), label("masked at", times.top - 13));
    const spanNodes = placed.map((p) => drawSpan(p, edges, (numRows - 1 - p.row) * 29, available));
    figure.append(...spanNodes.map((s) => s.group));
    for (const t of [0, 0.5, 1]) {
      figure.append(svg("line", { class: "hair", x1: gutter, x2: right, y1: y(t), y2: y(t) }),
        svg("text", { class: "tag", x: gutter - 8, y: y(t) + 4, "text-anchor": "end" }, t === 0.5 ? "½" : `t = ${t}`));
    }
    figure.append(svg("line", { class: "rule", x1: gutter, x2: right, y1: bars.top + bars.height, y2: bars.top + bars.height }));
    const labels = words.map((word, i) => {
      const middle = (edges[i] + edges[i + 1]) / 2;
      const tall = Math.max(1, bars.height * (word.salience ?? 1));
      const node = svg("text", { class: "word", x: middle, y: wordTop + 17, "text-anchor": "middle" }, word.text);
      figure.append(node, svg("text", { class: "tag", x: middle, y: wordTop + 33, "text-anchor": "middle" }, clipped(word.pos || "", edges[i + 1] - edges[i])),
        svg("rect", { class: "bar", x: middle - 7, y: bars.top + bars.height - tall, width: 14, height: tall }));
      return node;
    });
    const water = svg("rect", { class: "water", x: gutter, width: right - gutter });
    figure.append(water);
    for (const unit of units) {
      for (let i = unit.start, j; i < unit.end; i = j) {
        for (j = i + 1; j < unit.end && words[j].time === words[i].time; j++);
        figure.append(svg("line", { class: "time", style: `--c:${color(unit.level)}`, x1: edges[i] + 7, x2: edges[j] - 7, y1: y(words[i].time), y2: y(words[i].time) }));
      }
    }
    words.forEach((word, i) => (word.stages || []).filter((stage) => stage.time < 1).forEach((stage) => figure.append(
      svg("line", { class: "time thin", style: `--c:${color(stage.level)}`, x1: edges[i] + 7, x2: edges[i + 1] - 7, y1: y(stage.time), y2: y(stage.time) }))));
    const line = svg("line", { class: "waterline", x1: gutter, x2: right });
    figure.append(line);
    scroll.replaceChildren(figure);
    drawn = { spans: spanNodes, words: labels, line, water, y, floor: y(0) };
    paint(current);
  }

  // What a state shows in place of a hidden word: its type, while that is visible, or another word.
  function standIn(node, isHidden, stage, level) {
    const text = isHidden && stage ? stage.text : "";
    const place = node.querySelector(".stands-in");
    if (place.textContent !== text) place.textContent = text;
    node.style.setProperty("--c", color(isHidden ? (stage || { level: "token" }).level : level));
  }

  let current = 0.5;
  function paint(t) {
    current = t;
    words.forEach((word, i) => {
      const isHidden = word.time < t;
      toggle(wordNodes[i], "data-hidden", isHidden);
      if (word.stages) standIn(wordNodes[i], isHidden, word.stages.find((stage) => stage.time >= t), unitOf[i].level);
      if (drawn.words[i]) toggle(drawn.words[i], "data-hidden", isHidden);
    });
    for (const span of drawn.spans) toggle(span.group, "data-hidden", span.last < t);
    if (drawn.line) {
      drawn.line.setAttribute("y1", drawn.y(t));
      drawn.line.setAttribute("y2", drawn.y(t));
      drawn.water.setAttribute("y", drawn.y(t));
      drawn.water.setAttribute("height", drawn.floor - drawn.y(t));
    }
    const count = words.filter((word) => word.time < t).length;
    return { strong: `t = ${t.toFixed(2)}`, rest: `${count} of ${words.length} words ${exploration.verb || "masked"}` };
  }

  const control = hdiff.player({ label: "Diffusion time t", min: 0, max: 1, step: 0.01, value: 0.5, seconds: 6, onChange: paint });
  const hasTypes = words.some((word) => (word.stages || []).some((stage) => stage.time < 1));
  const note = hasTypes ? el("p", { class: "note" }, "A hidden word shows its finest type that is still visible, in the colour of its level: its label, if the run has labels; [ where a unit begins and · where it goes on; s with its salience bucket.") : "";
  const used = hdiff.LEVELS.filter((level) => spans.some((s) => s.level === level) || units.some((u) => u.level === level));
  node.replaceChildren(
    el("div", { class: "panel" }, control.node, sentence, note),
    el("div", { class: "panel" }, stage, hdiff.legend([...used.map((level) => ({ text: level, level })), { text: "line under a word: its salience", colour: "var(--ink)", kind: "line" }, ...(hasTypes ? [{ text: "thin line: when its type is masked", colour: "var(--soft)", kind: "line" }] : [])])));
  control.show();
  hdiff.responsive(scroll, draw);
  return control;
};

// Several explorations of one text, one below the other, at the same t.
hdiff.mountTogether = (box, explorations) => {
  const { el, color, toggle } = hdiff;
  const rows = explorations.map((exploration) => {
    const nodes = exploration.words.map((word, i) => {
      const [before, after] = [exploration.words[i - 1], exploration.words[i + 1]];
      const [starts, ends] = [!before || before.unit !== word.unit, !after || after.unit !== word.unit];
      const gap = after && after.space_before ? " gap" : "";
      return el("span", { class: `w${starts ? " starts" : ""}${ends ? " ends" : ""}${gap}`, style: `--c:${color(exploration.level)}` }, el("span", { class: "text" }, word.text));
    });
    const said = el("span", { class: "muted" });
    const paint = (t) => {
      exploration.words.forEach((word, i) => toggle(nodes[i], "data-hidden", word.time < t));
      said.textContent = ` · ${exploration.words.filter((word) => word.time < t).length} of ${nodes.length} words ${exploration.verb || "masked"}`;
    };
    const words = el("div", { class: "words" });
    nodes.forEach((node, i) => words.append(...(exploration.words[i].space_before && i ? [document.createElement("wbr"), node] : [node])));
    return { paint, node: el("div", {}, el("h3", {}, exploration.title, said), words) };
  });
  const paint = (t) => {
    rows.forEach((row) => row.paint(t));
    return { strong: `t = ${t.toFixed(2)}`, rest: "the same in every row" };
  };
  const control = hdiff.player({ label: "Diffusion time t of all rows", min: 0, max: 1, step: 0.01, value: 0.5, seconds: 9, onChange: paint });
  box.replaceChildren(el("div", { class: "panel" }, control.node, ...rows.map((row) => row.node)));
  control.show();
};

// Several explorations: a choice of sentence, and of what is hidden as one unit.
hdiff.mountExplorations = (box, explorations) => {
  const { el } = hdiff;
  const sentences = [...new Set(explorations.map((exploration, i) => exploration.sentence ?? i))];
  const of = (sentence) => explorations.filter((exploration, i) => (exploration.sentence ?? i) === sentence);
  const short = (text) => (text.length > 90 ? `${text.slice(0, 89)}…` : text);
  const place = el("div");
  let player = null;
  const show = () => {
    const chosen = of(sentences[sentence.value]);
    const found = chosen[Math.min(Number(unit.value), chosen.length - 1)];
    const t = player ? player.value() : 0.5;
    player = hdiff.mountInspection(place, found);
    player.set(t);
  };
  const fill = () => {
    const kept = unit.value;
    unit.replaceChildren(...of(sentences[sentence.value]).map((exploration, i) => el("option", { value: i }, exploration.choice || exploration.title)));
    if (kept && kept < unit.options.length) unit.value = kept;
    unitField.hidden = unit.options.length < 2;
    show();
  };
  const sentence = el("select", { "aria-label": "Sentence", on: { change: fill } }, ...sentences.map((number, i) => el("option", { value: i }, short(of(number)[0].sentence === undefined ? of(number)[0].title : of(number)[0].text))));
  const unit = el("select", { "aria-label": "Hidden as one unit", on: { change: show } });
  const unitField = el("label", {}, "Hidden together ", unit);
  box.replaceChildren(el("div", { class: "field", hidden: sentences.length < 2 && of(sentences[0]).length < 2 }, sentences.length > 1 ? sentence : "", unitField), place);
  fill();
};
