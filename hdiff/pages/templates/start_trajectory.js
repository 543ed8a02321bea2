// Entry point of trajectory.html.
hdiff.mountTrajectory(document.getElementById("explorer"), hdiff.data());
