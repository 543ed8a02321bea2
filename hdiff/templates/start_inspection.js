// Entry point of inspection.html.
hdiff.mountInspection(document.getElementById("explorer"), hdiff.data());
