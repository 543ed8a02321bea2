// Entry point of inspection.html: one explorer per parser or level, and all of them at once.
const explorations = hdiff.data();
document.querySelectorAll(".explorer").forEach((node, i) => hdiff.mountInspection(node, explorations[i]));
const together = document.getElementById("together");
if (together) hdiff.mountTogether(together, explorations);
