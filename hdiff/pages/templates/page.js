// Shared by every page: element builders, the play control, levels. No library, no network.
"use strict";
const hdiff = (() => {
  const LEVELS = ["sentence", "clause", "phrase", "word", "token"]; // coarse to fine
  const COLOURED = [...LEVELS, "crossing"]; // crossing: a unit that lies in no span

  const CROSSING = "A crossing span was filled at once and lies in no single span of the finished text’s parse: the borders of random spans do not follow phrases.";

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  const data = () => JSON.parse(document.getElementById("data").textContent);
  const color = (level) => `var(--${COLOURED.includes(level) ? level : "token"})`;
  const toggle = (node, name, on) => (on ? node.setAttribute(name, "") : node.removeAttribute(name));

  const ICONS = { play: "M3 1.5v13l11-6.5z", pause: "M3 1.5h4v13H3zM9 1.5h4v13H9z" };

  // Button, slider and readout; `seconds` is how long the whole range plays.
  function player({ label, min, max, step, value, seconds, onChange }) {
    const icon = svg("path", { d: ICONS.play });
    const button = el("button", { type: "button", "aria-label": "Play" },
      svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, icon));
    const slider = el("input", { type: "range", min, max, step, value, "aria-label": label });
    const output = el("output", { "aria-live": "off" });
    let playing = 0;
    function show(exact) {
      slider.style.setProperty("--done", `${(100 * (slider.value - min)) / (max - min || 1)}%`);
      const said = onChange(exact === undefined ? Number(slider.value) : exact);
      output.replaceChildren(el("b", {}, said.strong), ` · ${said.rest}`);
      slider.setAttribute("aria-valuetext", `${said.strong}, ${said.rest}`);
    }
    function stop() {
      cancelAnimationFrame(playing);
      playing = 0;
      icon.setAttribute("d", ICONS.play);
      button.setAttribute("aria-label", "Play");
    }
    function start() {
      if (Number(slider.value) >= max) slider.value = min;
      const from = Number(slider.value);
      let begun = null;
      icon.setAttribute("d", ICONS.pause);
      button.setAttribute("aria-label", "Pause");
      const frame = (now) => {
        begun = begun ?? now;
        const reached = Math.min(max, from + ((now - begun) / 1000 / seconds) * (max - min));
        slider.value = step >= 1 ? Math.floor(reached) : reached;
        show();
        if (reached < max) playing = requestAnimationFrame(frame);
        else stop();
      };
      playing = requestAnimationFrame(frame);
    }
    button.addEventListener("click", () => (playing ? stop() : start()));
    slider.addEventListener("input", () => { stop(); show(); });
    slider.addEventListener("keydown", (event) => {
      if (event.key !== " ") return;
      event.preventDefault();
      button.click();
    });
    const node = el("div", { class: "player" }, button, slider, output);
    return { node, show, value: () => Number(slider.value), set: (next) => { stop(); slider.value = next; show(); } };
  }

  function legend(items) {
    return el("ul", { class: "legend" }, ...items.map(({ text, level, colour, kind }) =>
      el("li", {}, el("i", { class: kind, style: `--c:${colour || color(level)}` }), text)));
  }

  // Redraws a figure whenever its box gets another width.
  function responsive(box, draw) {
    let last = 0;
    const redraw = () => {
      const width = Math.floor(box.clientWidth);
      if (width === last || width === 0) return;
      last = width;
      draw(width);
    };
    redraw();
    // A line without height above the box has its width, and does not change when the box is drawn.
    const ruler = el("div", { "aria-hidden": "true" });
    box.before(ruler);
    new ResizeObserver(redraw).observe(ruler);
  }

  // A tip inside `stage`; hide() or show it at a point of the stage.
  function tip(stage) {
    const node = el("div", { class: "tip", role: "status", hidden: true });
    stage.append(node);
    return {
      hide: () => { node.hidden = true; },
      show: (x, y, ...lines) => {
        node.replaceChildren(...lines.flatMap((line, i) => (i ? [el("br"), line] : [line])));
        node.hidden = false;
        const left = Math.max(0, Math.min(x - node.offsetWidth / 2, stage.clientWidth - node.offsetWidth));
        node.style.left = `${left}px`;
        node.style.top = `${y - node.offsetHeight - 10 < 0 ? y + 16 : y - node.offsetHeight - 10}px`;
      },
    };
  }

  return { LEVELS, COLOURED, CROSSING, el, svg, data, color, toggle, player, legend, responsive, tip };
})();
