// Entry point of report.html.
{
  const { charts, trajectory, explorations } = hdiff.data();
  for (const place of document.querySelectorAll("[data-chart]")) hdiff.mountChart(place, charts[place.dataset.chart]);
  for (const place of document.querySelectorAll("[data-charts]")) {
    hdiff.mountCharts(place, place.dataset.charts.split(" ").map((name) => charts[name]).filter(Boolean));
  }
  document.querySelectorAll("[data-sortable]").forEach(hdiff.makeSortable);
  document.querySelectorAll(".groups").forEach(hdiff.showOneGroup);
  if (trajectory) hdiff.mountTrajectory(document.getElementById("trajectory"), trajectory);
  const box = document.getElementById("explorations");
  if (box && explorations.length) hdiff.mountExplorations(box, explorations);
}
