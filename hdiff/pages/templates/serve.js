// Entry point of serve.html: tabs, forms, what the server is asked, and texts as they are filled in.
"use strict";
(() => {
  const { el } = hdiff;
  const { refused } = hdiff.data();
  const byId = (id) => document.getElementById(id);
  const status = byId("status");

  // Tabs: one is reached with Tab, the arrows go to the others.
  const tabs = [...document.querySelectorAll("[role=tab]")];
  // A sentence goes along from tab to tab; a text with gaps that nobody wrote is made of it.
  const sentences = ["corrupt-text", "restore-text"].map(byId);
  const gaps = byId("control-infill");
  let isOwnGaps = false;
  function withGap(text) {
    const words = text.trim().replaceAll("[", "[[").split(/\s+/);
    const first = Math.floor(words.length / 3), count = Math.min(3, words.length - 2);
    return count < 1 ? "" : [...words.slice(0, first + 1), "[2-5]", ...words.slice(first + 1 + count)].join(" ");
  }
  function share(text) {
    for (const field of sentences) if (field.value !== text) field.value = text;
    if (!isOwnGaps && withGap(text)) gaps.value = withGap(text);
  }
  for (const field of sentences) field.addEventListener("input", () => share(field.value));
  gaps.addEventListener("input", () => { isOwnGaps = true; });
  share(sentences[0].value);

  function select(tab) {
    for (const other of tabs) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
      byId(other.getAttribute("aria-controls")).hidden = other !== tab;
    }
  }
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      const next = { ArrowRight: i + 1, ArrowLeft: i - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      select(tabs[next % tabs.length]);
      tabs[next % tabs.length].focus();
    });
  });

  // Fields that the chosen kind does not use are hidden, and not checked.
  function follow(form, name) {
    const radios = [...form.querySelectorAll(`input[name=${name}]`)];
    if (!radios.some((radio) => radio.checked)) {
      const first = radios.find((radio) => !radio.disabled) || radios[0];
      first.checked = !first.disabled;
    }
    const update = () => {
      const chosen = (radios.find((radio) => radio.checked) || { value: "" }).value;
      for (const block of form.querySelectorAll("[data-for]")) {
        block.hidden = !block.dataset.for.split(" ").includes(chosen);
        for (const input of block.querySelectorAll("input, textarea")) input.disabled = block.hidden;
      }
    };
    radios.forEach((radio) => radio.addEventListener("change", update));
    update();
    return () => (radios.find((radio) => radio.checked) || { value: "" }).value;
  }

  async function ask(path, body) {
    let response;
    try {
      response = await fetch(`/api/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    } catch {
      throw new Error("the server does not answer; it may have ended: start hdiff serve again");
    }
    let found;
    try {
      found = await response.json();
    } catch {
      throw new Error(`the server answered with status ${response.status} and no JSON`);
    }
    if (!response.ok) throw new Error(found.error || `status ${response.status}`);
    return found;
  }

  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

  function wire(id, bodyOf, show) {
    const panel = byId(id);
    const form = panel.querySelector("form");
    const problem = panel.querySelector(".problem");
    const go = form.querySelector(".go");
    let isBusy = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (isBusy) return;
      isBusy = true;
      go.setAttribute("aria-disabled", "true");
      panel.setAttribute("aria-busy", "true");
      problem.hidden = true;
      status.textContent = "Working";
      try {
        const found = await ask(form.dataset.ask, bodyOf());
        show(panel.querySelector(".answer"), found);
        status.textContent = "Done";
      } catch (error) {
        panel.querySelector(".answer").replaceChildren(); // what stood there answered another question
        problem.textContent = sentence(error.message);
        problem.hidden = false;
        status.textContent = "";
      }
      isBusy = false;
      go.removeAttribute("aria-disabled");
      panel.removeAttribute("aria-busy");
    });
    return form;
  }

  const number = (id) => (byId(id).value === "" ? null : byId(id).valueAsNumber);
  const drawing = (prefix) => ({
    steps: number(`${prefix}-steps`), samples: number(`${prefix}-samples`) ?? 1, seed: number(`${prefix}-seed`) ?? 0, temperature: number(`${prefix}-temperature`) ?? 1,
  });

  // Texts as the sampler fills them in: one film for all of them.
  function mountTexts(box, found, { isShownDone }) {
    const pieces = [];
    const texts = found.samples.map((sample, i) => {
      const line = el("p", { class: "line", "aria-hidden": "true" });
      for (const piece of sample.pieces) {
        const last = piece.states[piece.states.length - 1];
        const made = hdiff.token(last[1] ?? "");
        made.box.dataset.level = found.is_refined ? "phrase" : piece.level;
        pieces.push({ ...piece, made });
        line.append(...made.nodes);
      }
      const score = sample.score === null ? "" : ` · ${sample.score.toFixed(2)} nats per filled token, one run of the bound`;
      return el("article", { class: "text", "aria-label": `Text ${i + 1}` }, el("h3", {}, `Text ${i + 1}`, el("small", {}, score)), line, el("p", { class: "visually-hidden" }, sample.text));
    });
    const total = pieces.filter((piece) => !piece.given).length;
    function paint(step) {
      let numFilled = 0;
      for (const { states, given, made } of pieces) {
        const state = hdiff.stateAt(states, step);
        const isBlank = state[1] === null;
        const kind = given ? "given" : isBlank ? "blank" : state[0] === step && step > 0 ? "new" : "old";
        numFilled += !given && !isBlank;
        if (made.box.dataset.kind !== kind) made.box.dataset.kind = kind;
        if (found.is_refined) made.put((state[1] || "").trim() || "␣");
      }
      const facts = [["step", `${step} of ${found.num_steps}`], ["filled in", found.is_refined ? "refined" : `${Math.round((100 * numFilled) / Math.max(1, total))} %`], ["trunk calls", String(found.nfe)], ["head passes", String(found.head_passes)], ["time", `${found.seconds.toFixed(2)} s`]];
      return { said: `step ${step} of ${found.num_steps}`, facts };
    }
    const film = hdiff.film({ label: "Sampling step", max: found.num_steps, scale: ["0", String(found.num_steps)], seconds: Math.min(12, Math.max(3, 0.4 * found.num_steps)), value: isShownDone ? found.num_steps : 0, jump: 1, paint });
    const has = (test) => pieces.some(test);
    const key = [
      ...(has((piece) => piece.given) ? [["given", "given", "token"]] : []),
      ...(found.is_refined ? [["changed in this step", "new", "phrase"]] : [["filled in this step", "new", "phrase"], ["still hidden", "blank", "token"]]),
      ...(found.is_refined ? [] : hdiff.COLOURED.filter((level) => has((piece) => !piece.given && piece.level === level)).map((level) => [level === "crossing" ? "crossing spans" : level, "level", level])),
    ];
    const crossing = has((piece) => !piece.given && piece.level === "crossing");
    const note = crossing && !found.is_refined ? el("p", { class: "note" }, hdiff.CROSSING) : "";
    box.replaceChildren(el("div", { class: "panel" }, film.node, found.original ? el("p", { class: "note" }, `The sentence was: ${found.original}`) : "", ...texts, hdiff.key(key), note));
    film.show();
    return film;
  }

  const corrupt = wire("corrupt", () => ({ text: byId("corrupt-text").value, seed: number("corrupt-seed") ?? 0 }), hdiff.mountCorruption);
  const restoreFrom = follow(byId("restore").querySelector("form"), "restore-from");
  wire("restore", () => ({
    ...(restoreFrom() === "fresh" ? { length: number("restore-length") } : { text: byId("restore-text").value, t: number("restore-t") ?? 0.5 }), ...drawing("restore"),
  }), (box, found) => {
    const film = mountTexts(box, found, { isShownDone: false });
    if (!hdiff.isCalm()) film.start();
  });
  const controlKind = follow(byId("control").querySelector("form"), "control-kind");
  wire("control", () => {
    const kind = controlKind();
    return {
      kind, text: byId(`control-${kind}`).value, ...drawing("control"),
      ...(kind === "keywords" ? { length: number("control-length") } : {}), ...(kind === "infill" ? {} : { tries: number("control-tries") }),
    };
  }, (box, found) => mountTexts(box, found, { isShownDone: true }));

  for (const form of document.querySelectorAll("form[data-refused]")) {
    for (const input of form.querySelectorAll("input, textarea, button")) input.disabled = true;
  }
  if (refused.fresh) byId("trust").hidden = true;
  if (byId("corrupt-text").value.trim()) corrupt.requestSubmit();
})();
