// Entry point of inspection.html: one explorer per parser.
const explorations = hdiff.data();
document.querySelectorAll(".explorer").forEach((node, i) => hdiff.mountInspection(node, explorations[i]));
