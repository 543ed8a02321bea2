// The film of serve.html: a player with single steps and speeds, and tokens that change from state to state.
"use strict";
(() => {
  const { el, svg } = hdiff;
  const SPEEDS = [["0.5", "half speed"], ["1", "normal speed"], ["2", "double speed"], ["4", "four times"]];
  const ICONS = {
    play: "M3 1.5v13l11-6.5z", pause: "M3 1.5h4v13H3zM9 1.5h4v13H9z",
    back: "M3 2h2.5v12H3zM14 2v12L6 8z", forward: "M10.5 2H13v12h-2.5zM2 2v12l8-6z",
  };
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  function button(name, label, run) {
    const icon = svg("path", { d: ICONS[name] });
    const node = el("button", { type: "button", class: name, "aria-label": label, on: { click: run } },
      svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, icon));
    return { node, icon };
  }

  // `paint(value)` draws a state and gives `{ said, facts: [[name, text], ...] }`; `seconds` is the whole range.
  hdiff.film = ({ label, max, scale, seconds, value, jump, paint }) => {
    const slider = el("input", { type: "range", min: 0, max, step: 1, value, "aria-label": label });
    const speed = el("select", { "aria-label": "Speed" }, ...SPEEDS.map(([times, text]) => el("option", { value: times }, text)));
    speed.value = "1";
    const facts = el("dl", { class: "readout" });
    const move = (by) => { stop(); set(Number(slider.value) + by); };
    const play = button("play", "Play", () => (frame ? stop() : start()));
    const back = button("back", "One step back", () => move(-jump));
    const forward = button("forward", "One step forward", () => move(jump));
    let frame = 0;

    function set(next) {
      slider.value = Math.max(0, Math.min(max, next));
      show();
    }
    function show() {
      slider.style.setProperty("--done", `${(100 * slider.value) / max}%`);
      const { said, facts: found } = paint(Number(slider.value));
      facts.replaceChildren(...found.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))));
      slider.setAttribute("aria-valuetext", said);
      back.node.disabled = Number(slider.value) <= 0;
      forward.node.disabled = Number(slider.value) >= max;
    }
    function stop() {
      cancelAnimationFrame(frame);
      frame = 0;
      play.icon.setAttribute("d", ICONS.play);
      play.node.setAttribute("aria-label", "Play");
    }
    function start() {
      if (Number(slider.value) >= max) set(0);
      let reached = Number(slider.value), before = null;
      play.icon.setAttribute("d", ICONS.pause);
      play.node.setAttribute("aria-label", "Pause");
      const tick = (now) => {
        reached = Math.min(max, reached + (((now - (before ?? now)) / 1000) * Number(speed.value) * max) / seconds);
        before = now;
        // Who wants little motion gets a few states, one after the other, in place of a glide.
        const stride = calm.matches ? Math.max(1, Math.ceil(max / 10)) : 1;
        const shown = reached >= max ? max : Math.floor(reached / stride) * stride;
        if (shown > Number(slider.value)) set(shown);
        if (!node.isConnected) stop();
        else if (reached < max) frame = requestAnimationFrame(tick);
        else stop();
      };
      frame = requestAnimationFrame(tick);
    }
    slider.addEventListener("input", () => { stop(); show(); });
    slider.addEventListener("keydown", (event) => {
      if (event.key !== " ") return;
      event.preventDefault();
      play.node.click();
    });
    const node = el("div", { class: "film" },
      el("div", { class: "controls" }, play.node, back.node, forward.node,
        el("span", { class: "track" }, el("span", { class: "scale", "aria-hidden": "true" }, scale[0]), slider, el("span", { class: "scale", "aria-hidden": "true" }, scale[1])), speed),
      facts);
    return { node, set, show, start, stop };
  };
  hdiff.isCalm = () => calm.matches;

  // One token. White space at its ends and line breaks stay outside of the coloured box.
  hdiff.token = (text, { inside } = {}) => {
    const [, lead, core, tail] = /^(\s*)([\s\S]*?)(\s*)$/.exec(text);
    const box = el("span", { class: "tok" });
    const put = (shown) => { if (box.textContent !== shown) box.textContent = shown; };
    if (!core) { // white space alone, or a part of a character
      const shown = text.includes("\n") ? "¶" : text || "\u2009";
      put(shown);
      return { box, nodes: text.includes("\n") ? [box, text] : [box], put, clean: shown };
    }
    const clean = (inside ? lead : "") + core;
    put(clean);
    const nodes = [inside ? "" : lead, box, tail].filter((part) => part !== "");
    return { box, nodes, put, clean };
  };

  // The state at a number: the last of `[from, ...what]` that has begun.
  hdiff.stateAt = (states, number) => states.filter((state) => state[0] <= number).pop();

  hdiff.key = (items) => el("ul", { class: "legend" }, ...items.map(([text, swatch, level]) =>
    el("li", {}, el("i", { class: `swatch ${swatch}`, "data-level": level }), text)));
})();
