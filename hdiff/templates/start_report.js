// Entry point of report.html.
{
  const { charts, trajectory, explorations } = hdiff.data();
  for (const place of document.querySelectorAll("[data-chart]")) hdiff.mountChart(place, charts[place.dataset.chart]);
  if (trajectory) hdiff.mountTrajectory(document.getElementById("trajectory"), trajectory);
  const box = document.getElementById("explorations");
  if (box && explorations.length) {
    const { el } = hdiff;
    const place = el("div");
    const short = (text) => (text.length > 90 ? `${text.slice(0, 89)}…` : text);
    const choice = el("select", { "aria-label": "Sentence", on: { change: () => hdiff.mountInspection(place, explorations[choice.value]) } },
      ...explorations.map((exploration, i) => el("option", { value: i }, short(exploration.title))));
    box.replaceChildren(explorations.length > 1 ? el("div", { class: "field" }, choice) : "", place);
    hdiff.mountInspection(place, explorations[0]);
  }
}
