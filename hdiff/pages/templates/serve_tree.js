// The tab "Corrupt" of serve.html: tokens, tree and salience of a sentence, and its states x_t.
"use strict";
(() => {
  const { el, svg } = hdiff;
  const percent = (share) => `${Math.round(100 * share)} %`;
  const ROW = 29;

  // Rows from the bottom up: a span lies one row above the highest span inside it.
  function rowsOf(spans) {
    const rank = (span) => hdiff.LEVELS.indexOf(span.level);
    const order = [...spans].sort((a, b) => a.end - a.start - (b.end - b.start) || rank(b) - rank(a));
    const placed = [];
    for (const span of order) {
      const inside = placed.filter((other) => other.span.start < span.end && span.start < other.span.end);
      placed.push({ span, row: inside.length ? Math.max(...inside.map((other) => other.row)) + 1 : 0 });
    }
    return placed;
  }

  const clipped = (text, room) => {
    const most = Math.floor(room / 7);
    return text.length <= most ? text : most < 2 ? "" : `${text.slice(0, most - 1)}…`;
  };

  // Columns of tokens: spans above them, their salience below.
  function figure(found, width) {
    const { tokens } = found;
    const gutter = 62;
    const wants = tokens.map((token) => Math.max(24, 8.2 * token.text.trim().length + 12));
    const sum = wants.reduce((a, b) => a + b, 0);
    const stretch = Math.min(1.6, Math.max(1, (width - gutter - 4) / sum));
    const edges = [gutter];
    for (const want of wants) edges.push(edges[edges.length - 1] + want * stretch);
    const right = edges[tokens.length];
    const placed = rowsOf(found.spans.filter((span) => span.level !== "word"));
    const numRows = Math.max(0, ...placed.map((one) => one.row + 1));
    const top = numRows * ROW + 4;
    const bars = { top: top + 44, height: 32 };
    const height = bars.top + bars.height + 4;
    const drawn = svg("svg", { class: "figure", width: Math.ceil(right + 4), height, role: "img", "aria-label": "Tree and salience; the same is in the table below" });
    const tag = (text, y) => svg("text", { class: "tag", x: 0, y }, text);
    for (const { span, row } of placed) {
      const x = edges[span.start] + 1.5;
      const room = edges[span.end] - edges[span.start] - 3;
      const y = (numRows - 1 - row) * ROW;
      const isWide = room > 0.6 * width;
      drawn.append(svg("g", { class: "span", "data-level": span.level },
        svg("title", {}, `${span.level} ${span.label}`),
        svg("rect", { x, y: y + 1, width: room, height: 24, rx: 4 }),
        svg("text", { x: isWide ? x + 9 : x + room / 2, y: y + 17, "text-anchor": isWide ? "start" : "middle" }, clipped(span.label, room - 6))));
    }
    if (numRows) drawn.append(tag("spans", top / 2 + 2));
    drawn.append(tag("tokens", top + 17));
    if (found.is_parsed) {
      drawn.append(tag("salience", bars.top + bars.height - 2), svg("line", { class: "rule", x1: gutter, x2: right, y1: bars.top + bars.height, y2: bars.top + bars.height }));
    }
    const words = found.spans.filter((span) => span.level === "word");
    for (const word of words) {
      drawn.append(svg("text", { class: "tag", x: (edges[word.start] + edges[word.end]) / 2, y: top + 33, "text-anchor": "middle" }, clipped(word.label, edges[word.end] - edges[word.start])));
    }
    const texts = tokens.map((token, i) => {
      const middle = (edges[i] + edges[i + 1]) / 2;
      const text = svg("text", { class: "word", x: middle, y: top + 17, "text-anchor": "middle" }, token.text.trim() || "␣");
      const tall = Math.max(1, bars.height * token.salience);
      drawn.append(text);
      if (found.is_parsed) drawn.append(svg("rect", { class: "bar", x: middle - 7, y: bars.top + bars.height - tall, width: 14, height: tall }));
      return text;
    });
    return { drawn, texts };
  }

  function table(found) {
    const text = (start, end) => found.tokens.slice(start, end).map((token) => token.text).join("").trim();
    const cells = (tag, values) => el("tr", {}, ...values.map((value) => el(tag, tag === "th" ? { scope: "col" } : {}, value)));
    const scroll = (name, ...rows) => el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, el("table", {}, ...rows));
    return el("details", {}, el("summary", {}, "Spans and salience as tables"),
      found.spans.length ? scroll("Spans", el("thead", {}, cells("th", ["level", "label", "tokens", "text"])),
        el("tbody", {}, ...found.spans.map((span) => cells("td", [span.level, span.label, `${span.start + 1}–${span.end}`, text(span.start, span.end)])))) : "",
      scroll("Tokens", el("thead", {}, cells("th", ["token", "text", "salience"])),
        el("tbody", {}, ...found.tokens.map((token, i) => cells("td", [String(i + 1), token.text.trim() || "␣", token.salience.toFixed(2)])))));
  }

  hdiff.mountCorruption = (box, found) => {
    const { tokens, num_times: times } = found;
    const levels = Object.keys(found.groups);
    const own = found.corruption && !found.signal ? tokens.map((token) => token.unit) : null;
    const choices = [...(own ? [["units", "units of x_t"]] : []), ...levels.map((level) => [level, level])];
    let colouring = own ? "units" : levels[levels.length - 1];
    let shown = [];
    let drawn = { texts: [] };
    let current = 0;
    const line = el("p", { class: "line", "aria-hidden": "true" });
    const spoken = el("p", { class: "visually-hidden" });

    const levelOf = (unit) => {
      const named = hdiff.LEVELS.includes(found.level) ? found.level : "random";
      return colouring === "units" ? (tokens.filter((token) => token.unit === unit).length > 1 ? named : "token") : colouring;
    };
    function lay() {
      const groups = colouring === "units" ? own : found.groups[colouring] || tokens.map((_, i) => i);
      shown = tokens.map((token, i) => {
        const isFirst = groups[i] !== groups[i - 1];
        const made = hdiff.token(token.text, { inside: !isFirst });
        made.box.dataset.level = levelOf(groups[i]);
        if (groups[i] % 2) made.box.dataset.odd = "";
        if (isFirst) made.box.dataset.starts = "";
        if (groups[i] !== groups[i + 1]) made.box.dataset.ends = "";
        made.box.title = `salience ${token.salience.toFixed(2)}`;
        return made;
      });
      line.replaceChildren(...shown.flatMap((one) => one.nodes));
    }

    function paint(number) {
      current = number;
      let numHidden = 0;
      const words = [];
      shown.forEach((one, i) => {
        const [, kind, text] = hdiff.stateAt(tokens[i].states, number) || [0, "clean", ""];
        const isClean = kind === "clean";
        numHidden += !isClean;
        one.box.dataset.kind = kind;
        one.put(isClean || kind === "masked" ? one.clean : (/^\s/.test(one.clean) ? " " : "") + text);
        if (drawn.texts[i]) hdiff.toggle(drawn.texts[i], "data-hidden", !isClean);
        words.push(isClean ? tokens[i].text : kind === "masked" ? " [hidden]" : ` [${text}]`);
        if (found.signal) one.box.style.opacity = Math.max(0.12, number ? found.signal[number - 1] : 1).toFixed(3);
      });
      spoken.textContent = words.join("");
      const t = (number / times).toFixed(2);
      if (found.signal) {
        const signal = number ? found.signal[number - 1] : 1;
        return { said: `t = ${t}, signal ${percent(signal)}`, facts: [["time", `t = ${t}`], ["signal left", percent(signal)], ["level", "none"]] };
      }
      const verb = found.corruption === "uniform_state" ? "replaced" : "masked";
      return {
        said: `t = ${t}, ${numHidden} of ${tokens.length} tokens ${verb}`,
        facts: [["time", `t = ${t}`], [`${verb} share`, percent(numHidden / tokens.length)], ["tokens", `${numHidden} of ${tokens.length}`], ["level", found.level]],
      };
    }

    const choice = el("fieldset", { class: "segmented" }, el("legend", { class: "visually-hidden" }, "Colour by"), ...choices.map(([value, text]) =>
      el("label", {}, el("input", { type: "radio", name: "colouring", value, checked: value === colouring, on: { change: () => { colouring = value; lay(); paint(current); } } }), text)));
    const film = found.corruption ? hdiff.film({ label: "Time t", max: times, scale: ["t = 0", "1"], seconds: 6, value: Math.round(times / 2), jump: 1, paint }) : null;
    const kinds = new Set(tokens.flatMap((token) => token.states.map((state) => state[1])));
    const KEY = [["masked", "masked"], ["typed", "masked, its type is visible"], ["replaced", "replaced"]];
    const scroll = el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Tree; scrolls sideways when wide" });
    lay();
    box.replaceChildren(
      ...found.notes.map((note) => el("p", { class: "note" }, note)),
      el("div", { class: "panel" }, film ? film.node : "", line, spoken,
        el("div", { class: "field" }, choices.length > 1 ? choice : "", hdiff.key(KEY.filter(([kind]) => kinds.has(kind)).map(([kind, text]) => [text, kind, kind === "replaced" ? "crossing" : "token"])))),
      el("div", { class: "panel" }, el("h3", {}, found.is_parsed ? "Tree and salience" : "Tokens"), scroll,
        hdiff.key(hdiff.LEVELS.filter((level) => found.spans.some((span) => span.level === level && level !== "word")).map((level) => [level, "level", level])), table(found)));
    hdiff.responsive(scroll, (width) => {
      const made = figure(found, width);
      scroll.replaceChildren(made.drawn);
      drawn = made;
      paint(current);
    });
    if (film) film.show();
    else paint(0);
  };
})();
