// Tables that sort by a click on a heading, and groups of which one is shown at a time.
"use strict";
hdiff.makeSortable = (table) => {
  const { el } = hdiff;
  const body = table.tBodies[0];
  const inOrder = [...body.rows];
  const headings = [...table.tHead.rows[0].cells].filter((cell) => cell.textContent && (cell.dataset.sort || cell.cellIndex === 0));
  const keyOf = (heading, row) => (heading.dataset.sort ? Number(row.dataset.values.split(" ")[heading.dataset.sort]) : inOrder.indexOf(row));
  for (const heading of headings) {
    const button = el("button", { type: "button", title: heading.dataset.sort ? "Sort by this column" : "Back to the first order" }, heading.textContent);
    button.addEventListener("click", () => {
      const isFalling = heading.dataset.sort && heading.getAttribute("aria-sort") !== "descending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", isFalling ? "descending" : "ascending");
      body.append(...[...body.rows].sort((a, b) => (isFalling ? -1 : 1) * (keyOf(heading, a) - keyOf(heading, b))));
    });
    heading.replaceChildren(button);
  }
};

hdiff.showOneGroup = (box) => {
  const { el } = hdiff;
  const groups = [...box.querySelectorAll(".group")];
  if (groups.length < 2) return;
  const titles = groups.map((group) => group.querySelector("h3").textContent);
  for (const group of groups) group.querySelector("h3").classList.add("visually-hidden"); // the choice says it
  const show = (chosen) => groups.forEach((group, i) => { group.hidden = i !== chosen; });
  const choice = el("select", { "aria-label": "Group tokens", on: { change: () => show(Number(choice.value)) } }, ...titles.map((title, i) => el("option", { value: i }, title)));
  const first = Math.max(0, titles.findIndex((title) => title.includes("phrase: label")));
  choice.value = first;
  box.prepend(el("div", { class: "field" }, choice));
  show(first);
};
